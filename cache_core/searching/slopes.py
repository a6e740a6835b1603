"""How much more a late error matters than an early one: one number, fitted to the errors of real runs.

An error that is made in step k of T reaches the end changed by all steps after it, which no table of uncached samplings tells. So the squared
error of step k counts exp(slope * k / T), and of the slopes the one is taken under which predicted and measured errors are most
nearly proportional.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import pvariance
from typing import TypeVar

SLOPES = [slope / 2 for slope in range(-8, 13)]
"""Those that are tried."""

DOUBT = 0.002
"""Weight of a slope's square beside the variance that it leaves: so few runs say little."""

Plan = TypeVar("Plan")


def weight(slope: float, step: int, num_steps: int) -> float:
    """Return what a squared error made in `step` counts."""
    return math.exp(slope * step / num_steps)


def fitted_slope(predicted: Callable[[Plan, float], float], measured: Mapping[Plan, float]) -> float:
    """Return the slope under which predicted errors are most nearly proportional to the `measured` ones.

    Args:
        predicted: Returns the error of a plan under a slope, up to a factor.
        measured: Error by plan.
    """

    def misfit(slope: float) -> float:
        gaps = [math.log(error / predicted(plan, slope)) for plan, error in measured.items()]
        return pvariance(gaps) + DOUBT * slope**2

    return min(SLOPES, key=misfit)

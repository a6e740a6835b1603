"""What no table of uncached samplings knows: one number, or two, fitted to the errors of real runs.

An error that is made in step k of T reaches the end changed by all steps after it. So the squared error of step k counts exp(slope * k / T).

A feature that is computed while others are reused is made from what these got wrong, and carries that on for as long as it is reused
itself. How much that adds to the squared error is `coupling`; where everything is computed in the same steps there is none.

Of all beliefs the one is taken under which predicted and measured errors are most nearly proportional.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import pvariance
from typing import TypeVar

DOUBT = 0.002
"""Weight of a belief's distance from the usual one, squared, beside the variance that it leaves: so few runs say little."""

USUAL = 10.0
"""Coupling before anything is known; seen on the zoo's Flux."""

Plan = TypeVar("Plan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is taken to be so.

    Attributes:
        slope: How much more late errors matter than early ones.
        coupling: How much of what is reused goes on in what is computed beside it.
    """

    slope: float = 0.0
    coupling: float = USUAL

    def weight(self, step: int, num_steps: int) -> float:
        """Return what a squared error made in `step` counts."""
        return math.exp(self.slope * step / num_steps)

    @property
    def distance(self) -> float:
        """How far it is from the usual belief, squared."""
        return self.slope**2 + math.log(self.coupling / USUAL) ** 2


SLOPES = tuple(Belief(slope=slope / 2) for slope in range(-8, 13))
"""Beliefs where there is no coupling to know."""

COUPLED = tuple(Belief(slope=one.slope, coupling=by * USUAL) for one in SLOPES for by in (0.1, 0.3, 1, 3, 10))
"""Beliefs where there is."""


def fitted(
    predicted: Callable[[Plan, Belief], float], measured: Mapping[Plan, float], beliefs: Iterable[Belief]
) -> Belief:
    """Return the belief under which predicted errors are most nearly proportional to the `measured` ones.

    Args:
        predicted: Returns the error of a plan, up to a factor.
        measured: Error by plan.
        beliefs: Those to choose from.
    """

    def misfit(belief: Belief) -> float:
        gaps = [math.log(error / predicted(plan, belief)) for plan, error in measured.items()]
        return pvariance(gaps) + DOUBT * belief.distance

    return min(beliefs, key=misfit)

"""How sure a mean over seeds is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap
from torch import Tensor

LEVEL, NUM_DRAWS = 0.95, 1000


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval at level 0.95, in the unit of what was measured."""

    value: float
    low: float
    high: float

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval is positive."""
        return self.low > 0.0

    @property
    def is_below_zero(self) -> bool:
        """Whether the whole interval is negative."""
        return self.high < 0.0


def mean_interval(values: Tensor | NDArray[np.float64], seed: int = 0) -> Interval:
    """Mean over seeds with its bootstrap interval (percentiles of 1000 resampled means).

    For a paired comparison pass the differences seed by seed.

    Args:
        values: (N,) finite numbers, one per seed.
        seed: Of the resampling.

    Returns:
        Mean and interval.

    Raises:
        ValueError: If there are fewer than two values, or one is not finite.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or len(numbers) < 2 or not np.isfinite(numbers).all():
        raise ValueError(
            f"mean_interval: got shape {numbers.shape} with {int((~np.isfinite(numbers)).sum())} values that are "
            "not finite; expected two or more finite numbers, one per seed; measure more seeds, or leave out "
            "seeds whose pictures are identical"
        )
    if np.ptp(numbers) == 0.0:
        return Interval(float(numbers[0]), float(numbers[0]), float(numbers[0]))
    result = bootstrap(
        (numbers,),
        np.mean,
        n_resamples=NUM_DRAWS,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    bounds = result.confidence_interval
    return Interval(float(numbers.mean()), float(bounds.low), float(bounds.high))

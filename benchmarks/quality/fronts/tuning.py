"""Finds the threshold at which a method does a share of the work, by running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log

NUM_HALVINGS = 6


def thresholds_for(
    shares: Sequence[float],
    share_at: Callable[[float], float],
    low: float,
    high: float,
    num_halvings: int = NUM_HALVINGS,
) -> dict[float, float]:
    """Return by share the threshold that came nearest to it.

    The range is halved on a logarithmic scale; what was measured for one share serves the others.

    Args:
        shares: Wished shares of the work, from 0 to 1.
        share_at: Runs the method at a threshold and returns the share that it did; the higher the threshold, the less.
        low: Least threshold, above 0.
        high: Most.
        num_halvings: Runs per share, fewer where they meet.
    """
    known: dict[float, float] = {}
    for wished in shares:
        left, right = log(low), log(high)
        for _ in range(num_halvings):
            middle = (left + right) / 2
            if middle not in known:
                known[middle] = share_at(exp(middle))
            left, right = (middle, right) if known[middle] > wished else (left, middle)
    return {wished: exp(min(known, key=lambda at: (abs(known[at] - wished), at))) for wished in shares}

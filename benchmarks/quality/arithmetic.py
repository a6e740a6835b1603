"""What a method's own definition says it will compute, written apart from the code that decides.

T steps of one call each (Euler), S sites. Every function returns the refresh ratio, computed over all site evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def fora_ratio(num_steps: int, interval: int, anchor: str, reuse_until: int | None = None) -> float:
    """One full step in `interval` (arXiv:2407.01425), counted from the first step or back from the last.

    Args:
        num_steps: T.
        interval: N.
        anchor: "start": steps 0, N, 2N... are full. "end": step 0, and the last, the N-th before it and so on.
        reuse_until: First step from which on all are full; None for a schedule that goes on to the end.
    """
    if anchor == "start":
        end = num_steps if reuse_until is None else reuse_until
        reused = end - -(-end // interval)
    else:
        reused = num_steps - 1 - ((num_steps - 2) // interval + 1)
    return 1.0 - reused / num_steps


def step_list_ratio(num_steps: int, speedup: float) -> float:
    """The share of steps that a speedup leaves, rounded to whole steps."""
    return max(round(num_steps / speedup), 1) / num_steps


def block_caching_ratio(profile: NDArray[np.float64], delta: float) -> float:
    """Each block alone: its changes since it was computed add up to at most delta (arXiv:2312.03209, section 3.2).

    Args:
        profile: (T, S) relative change of each block from the step before.
        delta: The bound.
    """
    num_steps, num_sites = profile.shape
    computed = 0
    for column in profile.T:
        computed += 1
        since = 0.0
        for change in column[1:]:
            since += change
            if delta <= 0.0 or since > delta:
                computed, since = computed + 1, 0.0
    return computed / (num_steps * num_sites)


def router_ratio(scores: NDArray[np.float64], threshold: float, decides: Callable[[int], bool]) -> float:
    """In the steps that the router decides a site is computed where sigmoid(score) > threshold; else all are.

    Args:
        scores: (T, S).
        threshold: Of the sigmoid.
        decides: Whether the router decides in a step.
    """
    passed = 1.0 / (1.0 + np.exp(-scores)) > threshold
    rows = [row.mean() if decides(step) else 1.0 for step, row in enumerate(passed)]
    return float(np.mean(rows))


def mask_ratio(compute: NDArray[np.bool_]) -> float:
    """The share of true entries of (T, S), whose first row counts as true throughout."""
    return float(np.concatenate([np.ones_like(compute[:1]), compute[1:]]).mean())


def threshold_ratio(changes: Sequence[float], threshold: float) -> float:
    """Calls are skipped while the changes since the last computed one add up to less than the threshold.

    The first and the last call are computed (arXiv:2411.19108, Eq. 6).

    Args:
        changes: The rescaled change of the indicator from each call to the next: T - 1 numbers.
        threshold: The bound.
    """
    computed, since = 1, 0.0
    for index, change in enumerate(changes):
        since += change
        if since >= threshold or index == len(changes) - 1:
            computed, since = computed + 1, 0.0
    return computed / (len(changes) + 1)

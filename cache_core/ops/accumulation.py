"""The schedule of TeaCache and SeaCache: changes since the last computed call add up until they reach a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..types import Call, Observation


def accumulated(
    observed: float, trace: Sequence[Observation], rescale: Callable[[float], float] = float
) -> float:
    """Return the rescaled change of this call and of those since the last computed one.

    The sum of TeaCache (Liu et al. 2024, arXiv:2411.19108, Eq. 6). A computed call ends it, whatever made it compute;
    its own change is part of the sum that made it compute, not of the next one.

    Args:
        observed: The indicator's change in this call, since the call before it.
        trace: What was observed in the earlier calls of the run, oldest first.
        rescale: Estimates from the indicator's change that of the output.
    """
    total = rescale(observed)
    for past in reversed(trace):
        if past.computed:
            break
        total += rescale(past.value or 0.0)
    return total


def is_first_or_last(call: Call) -> bool:
    """Return whether a call is the run's first or last; of a sampler of unknown length, whether it is of the last step."""
    if call.remaining is None:
        return call.index == 0 or call.step == call.run.num_steps - 1
    return call.index == 0 or call.remaining == 0


def num_computed(changes: Sequence[float], threshold: float) -> int:
    """Return how many calls of a run are computed whose rescaled changes, from its second call on, are `changes`."""
    computed, total = 1, 0.0
    for index, change in enumerate(changes):
        total += change
        if total >= threshold or index == len(changes) - 1:
            computed, total = computed + 1, 0.0
    return computed

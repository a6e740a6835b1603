"""Lists of full steps: the cheapest one under a table of costs, and those that lie next to one.

T steps, of which n are full. A list holds the full ones, in order; step 0 is always full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil

import torch
from torch import Tensor

Steps = tuple[int, ...]
"""Full steps, rising, from 0."""

Cost = Callable[[Steps, int], float]
"""What it costs to leave out all steps after the last of `steps` and before `until`, if `steps` were computed."""

LONGEST = 4
"""How many times the mean gap the longest one may be."""


def cheapest(num_steps: int, num_full: int, cost: Cost) -> Steps:
    """Return the list of `num_full` of `num_steps` steps whose gaps cost least in all, by dynamic programming.

    What a gap costs depends on the steps that its forecast looks at. The state is the last two full steps, so the list is the
    best there is where a forecast looks at two features or fewer; where it looks at more, the cheapest way to a pair of steps
    stands for all ways to it. Gaps of more than `LONGEST` times the mean are left aside.

    Args:
        num_steps: T.
        num_full: n, from 1 to T.
        cost: Of a gap, not negative.
    """
    reach = LONGEST * ceil(num_steps / num_full)
    ways: dict[Steps, tuple[float, Steps]] = {(0,): (0.0, (0,))}
    for missing in range(num_full - 1, 0, -1):
        longer: dict[Steps, tuple[float, Steps]] = {}
        for total, steps in ways.values():
            last = steps[-1]
            for step in range(last + 1, min(last + reach, num_steps - missing) + 1):
                way = total + cost(steps, step), (*steps, step)
                longer[way[1][-2:]] = min(longer.get(way[1][-2:], way), way)
        ways = longer
    return min((total + cost(steps, num_steps), steps) for total, steps in ways.values())[1]


def computed(lists: Sequence[Steps], num_steps: int) -> Tensor:
    """Return (T, L) bool: whether each of L lists has each of T steps."""
    found = torch.zeros(num_steps, len(lists), dtype=torch.bool)
    for column, steps in enumerate(lists):
        found[list(steps), column] = True
    return found


def share_of_calls(steps: Steps, call_steps: Sequence[int]) -> float:
    """Return the refresh ratio of a list: its calls over all, where a sampler makes call i in step `call_steps[i]`."""
    return sum(step in steps for step in call_steps) / len(call_steps)


def neighbours(steps: Steps, num_steps: int) -> Iterator[Steps]:
    """Yield the lists that have one full step elsewhere; the first stays."""
    free = sorted(set(range(num_steps)) - set(steps))
    for index in range(1, len(steps)):
        others = steps[:index] + steps[index + 1 :]
        for step in free:
            yield tuple(sorted((*others, step)))

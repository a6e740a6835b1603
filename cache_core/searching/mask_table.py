"""The table of a mask search: what each unit's gaps cost, weighed by what they do to the picture.

A unit's gaps are known from uncached samplings, relative to the size of its features (`site_record`). What that means for the picture differs
from group to group, so for every group one real run tells: the group is reused in every second step and nothing else is. Its
squared error over what the table says of that mask is the weight of the group. Errors of different units and gaps are taken to be
unrelated, so that their squares add up; for what that leaves out, the whole masks that the search samples with have the last word.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .lists import Steps
from .masks import Mask, Parts, affordable_mask
from .record import SMALLEST
from .slopes import weight

FACTOR = 4.0
"""By how much a neighbouring mask takes a group's errors to matter more, or less."""


class MaskTable:
    """Predicted errors of masks that take the same time, and the best of them."""

    def __init__(self, costs: NDArray[np.float64], parts: Parts, limit: float) -> None:
        """Weigh all groups alike.

        Args:
            costs: (U, T, T + 1) of each unit's gaps, infinite where the second step is not later.
            parts: The units.
            limit: Largest share of the whole time that a mask may take.
        """
        self._costs, self._parts, self._limit = costs, parts, limit
        self._emphases: dict[Mask, Mapping[str, float]] = {}
        self._best: dict[tuple[float, tuple[float, ...]], Mask] = {}

    @property
    def groups(self) -> tuple[str, ...]:
        """Name of each group once, in the order they run."""
        return tuple(dict.fromkeys(self._parts.groups))

    def every_second(self, group: str) -> Mask:
        """Return the mask that reuses one group in every second step and computes everything else."""
        num_steps = len(self._parts.calls)
        every, second = tuple(range(num_steps)), tuple(range(0, num_steps, 2))
        return tuple(second if own == group else every for own in self._parts.groups)

    def weighed(self, errors: Mapping[str, float]) -> MaskTable:
        """Return the table that predicts for `every_second` of each group the error that a real run had."""
        weights = {
            group: (max(error, SMALLEST) / self.predicted(self.every_second(group), 0.0)) ** 2
            for group, error in errors.items()
        }
        factors = np.array([weights[group] for group in self._parts.groups])
        return MaskTable(self._costs * factors[:, None, None], self._parts, self._limit)

    def best(self, slope: float) -> Mask:
        """Return the mask with the lowest predicted error."""
        return self._worked_out(slope, {})

    def predicted(self, mask: Mask, slope: float) -> float:
        """Return the error of a mask."""
        total = sum(self._total(unit, steps, slope) for unit, steps in enumerate(mask))
        return max(float(np.sqrt(total)), SMALLEST)

    def near(self, mask: Mask, slope: float) -> set[Mask]:
        """Return the masks that are best if the errors of one group matter more, or less, than `mask` was worked out with."""
        known = self._emphases.get(mask, {})
        changed = [
            {**known, group: known.get(group, 1.0) * by}
            for group in self.groups
            for by in (FACTOR, 1 / FACTOR)
        ]
        return {self._worked_out(slope, emphases) for emphases in changed}

    def _worked_out(self, slope: float, emphases: Mapping[str, float]) -> Mask:
        """Return the best mask where a group's squared errors count by its emphasis, if it has one."""
        by_unit = tuple(emphases.get(group, 1.0) for group in self._parts.groups)
        if (slope, by_unit) not in self._best:
            late = [weight(slope, step, len(self._parts.calls)) for step in range(len(self._parts.calls))]
            counted = self._costs * np.array(by_unit)[:, None, None] * np.array(late)[:, None]
            mask = affordable_mask(counted, self._parts, self._limit)
            self._best[slope, by_unit] = mask
            self._emphases.setdefault(mask, emphases)
        return self._best[slope, by_unit]

    def _total(self, unit: int, steps: Steps, slope: float) -> float:
        """Return what all gaps of a unit's list cost."""
        num_steps = len(self._parts.calls)
        ends = (*steps[1:], num_steps)
        return sum(
            float(self._costs[unit, step, end]) * weight(slope, step, num_steps)
            for step, end in zip(steps, ends, strict=True)
        )

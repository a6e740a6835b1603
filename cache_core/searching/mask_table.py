"""The table of a mask search: what each unit's gaps cost, weighed by what they do to the picture.

A unit's gaps are known from uncached samplings, relative to the size of its features (`site_record`). What that means for the picture differs
from group to group, so for every group one real run tells: the group is reused in every second step and nothing else is. Its
squared error over what the table says of that mask is the weight of the group. Squared errors of units and gaps are added up, and with
them what goes on from one unit to the next (`beliefs`).

For that, where it is strong, everything should be computed in the same steps; where it is weak, each unit when its own gaps say so. So there is a
family of masks: everything is computed in the same n steps, the best n of T; or each unit in some of the best n + 1, n + 2, n + 4, ...
or all T steps, the best way to do so that takes no longer. Real runs tell which of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .beliefs import COUPLED, Belief
from .lists import Steps, cheapest, neighbours
from .masks import Mask, Parts, affordable_mask
from .record import SMALLEST


class MaskTable:
    """Predicted errors of masks that take no longer than some full steps, and the best of them."""

    def __init__(self, costs: NDArray[np.float64], parts: Parts, num_full: int) -> None:
        """Weigh all groups alike.

        Args:
            costs: (U, T, T + 1) of each unit's gaps, infinite where the second step is not later.
            parts: The units.
            num_full: n: as much time a mask may take.
        """
        self._costs, self._parts, self._num_full = costs, parts, num_full
        self._num_steps, self._together = len(parts.calls), costs.sum(0)
        shortest = np.diagonal(costs, 2, axis1=1, axis2=2).sum(1)
        self._importance = shortest / max(shortest.sum(), SMALLEST**2)
        self._families: dict[float, tuple[Mask, ...]] = {}
        self._profiles: dict[Mask, NDArray[np.float64]] = {}

    @property
    def groups(self) -> tuple[str, ...]:
        """Name of each group once, in the order they run."""
        return tuple(dict.fromkeys(self._parts.groups))

    @property
    def beliefs(self) -> tuple[Belief, ...]:
        """Beliefs to choose from."""
        return COUPLED

    def every_second(self, group: str) -> Mask:
        """Return the mask that reuses one group in every second step and computes everything else."""
        every, second = tuple(range(self._num_steps)), tuple(range(0, self._num_steps, 2))
        return tuple(second if own == group else every for own in self._parts.groups)

    def weighed(self, errors: Mapping[str, float]) -> MaskTable:
        """Return the table that predicts for `every_second` of each group the error that a real run had."""
        weights = {
            group: (max(error, SMALLEST) / self.predicted(self.every_second(group), Belief())) ** 2
            for group, error in errors.items()
        }
        factors = np.array([weights[group] for group in self._parts.groups])
        return MaskTable(self._costs * factors[:, None, None], self._parts, self._num_full)

    def best(self, belief: Belief) -> Mask:
        """Return the mask of the family with the lowest predicted error."""
        return min(self._family(belief), key=lambda mask: self.predicted(mask, belief))

    @property
    def apart(self) -> Mask:
        """The mask of the family whose units first go their own ways: its error tells how strong the coupling is."""
        return self._family(Belief())[1]

    def near(self, mask: Mask, belief: Belief) -> set[Mask]:
        """Return the family, and where `mask` computes everything in the same steps, those with one step elsewhere."""
        moved = neighbours(mask[0], self._num_steps) if _is_tied(mask) else ()
        return {*self._family(belief), *(self._tied(steps) for steps in moved)}

    def predicted(self, mask: Mask, belief: Belief) -> float:
        """Return the error of a mask."""
        if mask not in self._profiles:
            self._profiles[mask] = self._profile(mask)
        gaps, mixed = self._profiles[mask]
        total = float((gaps + belief.coupling * mixed) @ self._late(belief))
        return max(math.sqrt(total), SMALLEST)

    def _family(self, belief: Belief) -> tuple[Mask, ...]:
        if belief.slope not in self._families:
            counted = self._costs * self._late(belief)[:, None]
            sizes = {self._num_full + 2**power for power in range(self._num_steps.bit_length())}
            reached = sorted(min(size, self._num_steps) for size in sizes)
            loose = [self._loose(counted, size) for size in dict.fromkeys(reached)]
            same = self._tied(self._common(counted, self._num_full))
            self._families[belief.slope] = (same, *loose)
        return self._families[belief.slope]

    def _common(self, counted: NDArray[np.float64], size: int) -> Steps:
        """Return the best steps for everything to be computed in."""
        together = counted.sum(0)
        return cheapest(self._num_steps, size, lambda steps, until: float(together[steps[-1], until]))

    def _loose(self, counted: NDArray[np.float64], size: int) -> Mask:
        """Return the best mask whose units are computed in some of the best `size` steps."""
        closed = sorted(set(range(self._num_steps)) - set(self._common(counted, size)))
        allowed = counted.copy()
        allowed[:, closed, :] = allowed[:, :, closed] = np.inf
        return affordable_mask(allowed, self._parts, self._num_full / self._num_steps)

    def _tied(self, steps: Steps) -> Mask:
        return (steps,) * len(self._costs)

    def _late(self, belief: Belief) -> NDArray[np.float64]:
        return np.array([belief.weight(step, self._num_steps) for step in range(self._num_steps)])

    def _profile(self, mask: Mask) -> NDArray[np.float64]:
        """Return (2, T): what the gaps that begin in each step cost, and what goes on from others through them."""
        gaps, stale, carried = np.zeros((3, self._num_steps))
        if _is_tied(mask):
            gaps[list(mask[0])] = self._together[list(mask[0]), [*mask[0][1:], self._num_steps]]
            return np.stack([gaps, carried])
        for costs, steps, importance in zip(self._costs, mask, self._importance, strict=True):
            for step, end in zip(steps, (*steps[1:], self._num_steps), strict=True):
                gaps[step] += costs[step, end]
                stale[step + 1 : end] += np.diff(costs[step, step + 1 : end + 1]).clip(min=0.0)
                carried[step] += importance * (end - step - 1)
        return np.stack([gaps, stale * carried])


def _is_tied(mask: Mask) -> bool:
    return len(set(mask)) == 1

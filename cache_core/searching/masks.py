"""Masks: a list of full steps for every part of a network, and those that leave the least error for the time they take.

T steps, U units. A unit is one site, or several that are computed together. A mask holds one list per unit, in the order they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..types import Site
from .lists import Steps

Mask = tuple[Steps, ...]
"""Full steps of every unit."""

Unit = tuple[int, ...]
"""Places of the sites that are computed together."""

Piece = tuple[tuple[str, ...], float]
"""Names of the sites that share a piece of work, which is saved only where all are reused; and the seconds that it takes."""

HALVINGS = 60
"""Of the price of a second; from the first on it spans `DECADES`."""
DECADES = 1e15


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What of a network is decided about, and how long it takes.

    Sites are tied into one unit where what they share takes longer than what is theirs alone. So the attentions of picture and text
    of a Flux block, which are one piece of work, are one unit; the parts of a PixArt block, which share only what lies
    around them, are three.

    Attributes:
        sites: In the order they run.
        pieces: How long what takes; none where that is not known yet.
        calls: Calls of every step, (T,).
    """

    sites: tuple[Site, ...]
    pieces: tuple[Piece, ...]
    calls: tuple[int, ...]

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """The units, in the order they run."""
        alone = {names[0]: seconds for names, seconds in self.pieces if len(names) == 1}
        units = [{place} for place in range(len(self.sites))]
        for names, seconds in self.pieces:
            if seconds > sum(alone.get(name, 0.0) for name in names):
                shared = {place for place, site in enumerate(self.sites) if str(site) in names}
                joined = [unit for unit in units if unit & shared]
                units = [unit for unit in units if not unit & shared] + [set().union(*joined)]
        return tuple(sorted(tuple(sorted(unit)) for unit in units))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The group of every unit: alike parts of a list of blocks, its first half apart from its second."""
        last = {site.path: site.index for site in self.sites}
        firsts = [self.sites[unit[0]] for unit in self.units]
        halves = ["first" if 2 * site.index <= last[site.path] else "second" for site in firsts]
        return tuple(
            f"{site.path}.{site.part}, {half} half" for site, half in zip(firsts, halves, strict=True)
        )

    @cached_property
    def own(self) -> NDArray[np.float64]:
        """Seconds (U, T) that each unit takes in each step for itself."""
        alone = [sum(s for units, s in self._spent if units == {place}) for place in range(len(self.units))]
        return np.outer(alone, self.calls)

    def share(self, mask: Mask) -> float:
        """Return the cost ratio of a mask: the seconds of what it computes over those of everything."""
        spent = 0.0
        for units, seconds in self._spent:
            # Work that units share is done where any of them is computed.
            steps = set().union(*(mask[unit] for unit in units))
            spent += seconds * sum(self.calls[step] for step in steps)
        return spent / (sum(seconds for _, seconds in self._spent) * sum(self.calls))

    def by_site(self, mask: Mask) -> tuple[Steps, ...]:
        """Return the full steps of every site."""
        steps = {site: own for unit, own in zip(self.units, mask, strict=True) for site in unit}
        return tuple(steps[place] for place in range(len(self.sites)))

    @cached_property
    def _spent(self) -> tuple[tuple[frozenset[int], float], ...]:
        """The pieces, by places of units in place of names of sites."""
        unit_of = {str(self.sites[site]): place for place, unit in enumerate(self.units) for site in unit}
        return tuple((frozenset(unit_of[name] for name in names), seconds) for names, seconds in self.pieces)


def cheapest_mask(costs: NDArray[np.float64], prices: NDArray[np.float64]) -> Mask:
    """Return the mask whose gaps and full steps cost least in all: the best there is, unit by unit, by dynamic programming.

    Args:
        costs: (U, T, T + 1) of leaving out the steps between two full ones, or after the last; infinite for what may not be.
        prices: (U, T) of computing a step.
    """
    num_units, num_steps = prices.shape
    total = np.full((num_units, num_steps + 1), np.inf)
    total[:, 0] = 0.0
    came_from = np.zeros((num_units, num_steps + 1), dtype=np.int64)
    for step in range(1, num_steps + 1):
        ways = total[:, :step] + costs[:, :step, step]
        came_from[:, step] = ways.argmin(1)
        total[:, step] = ways.min(1) + (prices[:, step] if step < num_steps else 0.0)
    return tuple(_traced(row, num_steps) for row in came_from.tolist())


def _traced(came_from: Sequence[int], num_steps: int) -> Steps:
    steps = [came_from[num_steps]]
    while steps[-1]:
        steps.append(came_from[steps[-1]])
    return tuple(reversed(steps))


def affordable_mask(costs: NDArray[np.float64], parts: Parts, limit: float) -> Mask:
    """Return the mask of least cost among those that take at most the share `limit` of all time, as near as prices come.

    A price is put on a second, the same for all units, and the cheapest mask worked out; the price is halved or doubled until
    the limit is met. That mask is the best of all that take no longer than it does (Everett 1963, Operations Research 11,
    theorem 1), where no piece of work is shared between units.
    """
    seconds = parts.own
    dear = float(costs[np.isfinite(costs)].sum()) / float(seconds[seconds > 0].min())
    found, low, high = cheapest_mask(costs, dear * seconds), dear / DECADES, dear
    for _ in range(HALVINGS):
        price = float(np.sqrt(low * high))
        mask = cheapest_mask(costs, price * seconds)
        if parts.share(mask) <= limit:
            found, high = mask, price
        else:
            low = price
    return found

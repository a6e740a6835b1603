"""A budget of bytes: who may hold features, decided so that batching does not change it."""

from __future__ import annotations

from collections import Counter, defaultdict

from .types import Lane, Site


class Allowance:
    """Grants bytes to the sites of each lane until its share of the budget is used up.

    The lanes share the budget equally, so that what one is granted does not depend on whether the others come in
    the same batch, before it or after it. Within a lane sites are granted in the order in which they first ask, which
    is the order in which they run; the first that does not fit ends it. So the last blocks of the network are given
    up first, for the whole run: what is not granted is not held, and what is not held is computed. A lane beyond
    those that were expected gets what the others leave.
    """

    def __init__(self, budget: int | None, num_lanes: int) -> None:
        """Share `budget` bytes, None for no limit, among `num_lanes` lanes."""
        self._budget = budget
        self._share = None if budget is None else budget // max(num_lanes, 1)
        self._granted: dict[Lane, dict[Site, int]] = defaultdict(dict)
        self._totals: Counter[Lane] = Counter()
        self._ended: set[Lane] = set()
        self._refused: dict[Site, None] = {}

    @property
    def refused(self) -> tuple[Site, ...]:
        """The sites that were given up in any lane, in the order in which they were."""
        return tuple(self._refused)

    def grant(self, lane: Lane, site: Site, num_bytes: int) -> bool:
        """Return whether `site` may hold `num_bytes` in `lane`; what it was granted before is part of that."""
        if self._budget is None or self._share is None:
            return True
        more = num_bytes - self._granted[lane].get(site, 0)
        fits = self._totals[lane] + more <= self._share and self._totals.total() + more <= self._budget
        if fits and (site in self._granted[lane] or lane not in self._ended):
            self._granted[lane][site] = num_bytes
            self._totals[lane] += more
            return True
        self._totals[lane] -= self._granted[lane].pop(site, 0)
        self._ended.add(lane)
        self._refused[site] = None
        return False

    def release(self, lane: Lane) -> None:
        """Take back everything that `lane` was granted."""
        self._granted.pop(lane, None)
        self._totals.pop(lane, None)
        self._ended.discard(lane)

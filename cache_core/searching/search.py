"""The search: the table proposes a list, a real run tells its error, and what was learned decides on the next one.

It is a descent by coordinates. The first lists are those it was given and the cheapest of the table. From then on it tries, next to
the best list so far, the one with a full step elsewhere that the table finds cheapest, its one free number fitted anew to all errors
measured; or the table's own cheapest, if that has become another. A list takes the place of the best when its measured
error is lower, so the result is never worse than what the search began with, on the pictures that it saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .lists import Steps, neighbours
from .table import GapTable

ENOUGH = 3
"""Errors that a fit of one number takes."""

FROM_TABLE = "table"
"""Name of the table's first list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A list that was sampled with, and its error."""

    steps: Steps
    error: float


class Search:
    """A search for the list of `num_full` steps with the lowest measured error."""

    def __init__(
        self, table: GapTable, num_full: int, starts: Mapping[str, Steps], measure: Callable[[Steps], float]
    ) -> None:
        """Search from `starts`.

        Args:
            table: Of the uncached samplings that `measure` compares with.
            num_full: How many steps are full, in every list.
            starts: Lists to begin with, by name, such as a rule's.
            measure: Returns the error of a real run; may raise, which ends the search.
        """
        self._table, self._num_full, self._measure = table, num_full, measure
        self.starts = dict(starts) | {FROM_TABLE: table.best(num_full, 0.0)}
        self.tries: list[Try] = []

    @property
    def best(self) -> Try | None:
        """The try with the lowest error so far, or None."""
        return min(self.tries, key=lambda one: one.error, default=None)

    @property
    def measured(self) -> dict[Steps, float]:
        """Error by list."""
        return {one.steps: one.error for one in self.tries}

    @property
    def slope(self) -> float:
        """How much more late errors matter than early ones, as far as the tries tell; see `table`."""
        return self._table.fitted_slope(self.measured) if len(self.tries) >= ENOUGH else 0.0

    def step(self) -> bool:
        """Try one more list; return whether there was one."""
        steps = self._next()
        if steps is not None:
            self.tries.append(Try(steps=steps, error=self._measure(steps)))
        return steps is not None

    def _next(self) -> Steps | None:
        known = self.measured
        waiting = [steps for steps in self.starts.values() if steps not in known]
        if waiting:
            return waiting[0]
        assert self.best is not None
        slope, best = self.slope, self.best.steps
        near = {*neighbours(best, self._table.num_steps), self._table.best(self._num_full, slope)}
        return min(
            near - known.keys(), key=lambda steps: (self._table.predicted(steps, slope), steps), default=None
        )

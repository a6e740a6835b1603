"""The search: a table proposes a plan, a real run tells its error, and what was learned decides on the next one.

A plan says what is computed: a list of full steps, or such a list for every part of the network. The search is a descent by
coordinates. The first plans are those it was given and the cheapest of the table. From then on it tries, next to the best plan so far,
the one that the table finds cheapest, its one or two free numbers fitted anew to all errors measured; or the table's own cheapest, if that has
become another. A plan takes the place of the best where its measured errors are lower by more than the standard error of the difference
over the pictures seen. So the result is never worse than the first plan on the pictures that were seen, and unlikely to be on others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from .beliefs import Belief, fitted
from .record import is_nearer, typical

ENOUGH = 3
"""Errors that a fit takes."""

FROM_TABLE = "table"
"""Name of the table's first plan."""

Plan = TypeVar("Plan", bound=tuple[Any, ...])


class Table(Protocol[Plan]):
    """What an uncached sampling says of plans that all cost the same."""

    @property
    def beliefs(self) -> Iterable[Belief]:
        """Beliefs to choose from."""

    def best(self, belief: Belief) -> Plan:
        """Return the plan with the lowest predicted error."""

    def predicted(self, plan: Plan, belief: Belief) -> float:
        """Return the error of a plan, up to a factor that is the same for all."""

    def near(self, plan: Plan, belief: Belief) -> Iterable[Plan]:
        """Return plans that differ little from `plan`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try(Generic[Plan]):
    """A plan that was sampled with, and the error of each picture."""

    plan: Plan
    errors: tuple[float, ...]

    @property
    def error(self) -> float:
        """The typical error."""
        return typical(torch.tensor(self.errors))

    def beats(self, other: Try[Plan]) -> bool:
        """Return whether it is nearer to the uncached pictures than another, by more than the standard error."""
        return is_nearer(torch.tensor(self.errors), torch.tensor(other.errors))


def better(one: Try[Plan], other: Try[Plan]) -> Try[Plan]:
    """Return `one`, unless the `other` beats it."""
    return other if other.beats(one) else one


class Search(Generic[Plan]):
    """A search for the plan with the lowest measured error."""

    def __init__(
        self, table: Table[Plan], starts: Mapping[str, Plan], measure: Callable[[Plan], Tensor]
    ) -> None:
        """Search from `starts`.

        Args:
            table: Of the uncached samplings that `measure` compares with.
            starts: Plans to begin with, by name, such as a rule's; the first is the one to beat.
            measure: Returns the errors (P,) of a real run; may raise, which ends the search.
        """
        self._table, self._measure = table, measure
        self.starts = dict(starts) | {FROM_TABLE: table.best(Belief())}
        self.tries: list[Try[Plan]] = []

    @property
    def best(self) -> Try[Plan] | None:
        """The try that none after it has beaten, or None."""
        return reduce(better, self.tries) if self.tries else None

    @property
    def belief(self) -> Belief:
        """What the tries tell beyond the table; see `beliefs`."""
        if len(self.tries) < ENOUGH:
            return Belief()
        measured = {one.plan: one.error for one in self.tries}
        return fitted(self._table.predicted, measured, self._table.beliefs)

    def step(self) -> bool:
        """Try one more plan; return whether there was one."""
        plan = self._next()
        if plan is not None:
            self.tries.append(Try(plan=plan, errors=tuple(self._measure(plan).tolist())))
        return plan is not None

    def _next(self) -> Plan | None:
        known = {one.plan for one in self.tries}
        waiting = [plan for plan in self.starts.values() if plan not in known]
        if waiting:
            return waiting[0]
        assert self.best is not None
        belief = self.belief
        near = {*self._table.near(self.best.plan, belief), self._table.best(belief)}
        return min(near - known, key=lambda plan: (self._table.predicted(plan, belief), plan), default=None)

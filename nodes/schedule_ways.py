"""What the search of one kind of schedule needs beside the search itself; and that for lists of full steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import torch

from ..cache_core import Architecture, HeatMap, Kind, Policy, Run, Sampling, fingerprint
from ..cache_core.searching.lists import Steps, computed
from ..cache_core.searching.outcome import FOUND, picture_of_lists, written
from ..cache_core.searching.search import Search, Table
from ..cache_core.searching.table import GapTable
from .host import adapter_of
from .schedule_order import EVEN, RULE, Order
from .schedule_runs import Runs

Plan = TypeVar("Plan", bound=tuple[Any, ...])


@dataclass(frozen=True, kw_only=True)
class Look(Generic[Plan]):
    """What uncached samplings told.

    Attributes:
        table: What plans are predicted to cost.
        starts: Plans to begin with, by name, beside the table's best.
        results: What the samplings ended in, see `Runs.uncached`.
    """

    table: Table[Plan]
    starts: Mapping[str, Plan]
    results: list[torch.Tensor]


class Way(ABC, Generic[Plan]):
    """What the search of one kind of schedule needs beside the search itself."""

    kind: ClassVar[Kind]

    def __init__(self, order: Order, run: Run) -> None:
        """Search for `order`, in runs such as `run`.

        Raises:
            ConfigError: If nothing can be searched.
        """
        assert run.call_steps is not None
        self._order, self._run, self._calls = order, run, run.call_steps
        self._lists = order.starts(run)

    @property
    def num_full(self) -> int:
        """How many steps the whole work of the schedule is worth."""
        return len(self._lists[RULE])

    @property
    def num_weighings(self) -> int:
        """Samplings that it takes to make the table, beside the uncached ones."""
        return 0

    @abstractmethod
    def look(self, runs: Runs, say: Callable[[str], None]) -> Look[Plan]:
        """Sample what the search sees, uncached, and return what that tells; `say` is told what is done."""

    @abstractmethod
    def policy(self, plan: Plan) -> Policy:
        """Return the policy that follows a plan."""

    @abstractmethod
    def rivals(self, plan: Plan) -> Mapping[str, tuple[str, Policy]]:
        """Return the plan that was found and what it is compared with: name and policy, by key."""

    @abstractmethod
    def compute(self, plan: Plan) -> torch.Tensor:
        """Return (T, S) bool: what a plan computes."""

    @abstractmethod
    def picture(self, search: Search[Plan]) -> HeatMap:
        """Return a picture of the best plan so far."""

    @abstractmethod
    def facts(self, plan: Plan) -> list[str]:
        """Return what a plan does, in words."""

    def made(self) -> Mapping[str, str | int]:
        """Return how the method was set."""
        return {"level": self._order.level.value}

    def measured(self, plan: Plan) -> Mapping[str, float]:
        """Return what a plan computes, in numbers."""
        return {"refresh_ratio": float(self.compute(plan)[list(self._calls)].double().mean())}

    @cached_property
    def network(self) -> Architecture:
        """Fingerprint of the network, at the level of what is decided about."""
        return fingerprint(adapter_of(self._order.model), self._order.level)

    @cached_property
    def sampling(self) -> Sampling:
        """The settings of the runs."""
        made, run = self._order.settings, self._run
        return Sampling(
            num_steps=run.num_steps,
            sigmas=run.sigmas,
            sampler=run.sampler,
            scheduler=made.scheduler,
            cfg=made.cfg,
            size=run.size,
        )


class StepWay(Way[Steps]):
    """Lists of full steps, forecast in between."""

    kind = Kind.STEPS

    def look(self, runs: Runs, say: Callable[[str], None]) -> Look[Steps]:
        """Record the outputs of the network, and forecast along them; begin with the method's own rule and even spacing."""
        record, results = runs.record(self._order.seen)
        table = GapTable(record, self._order.forecast, self.num_full)
        return Look(table=table, starts=self._lists, results=results)

    def policy(self, plan: Steps) -> Policy:
        """Return a step list."""
        return self._order.step_list(steps=written(plan))

    def rivals(self, plan: Steps) -> Mapping[str, tuple[str, Policy]]:
        """Return the list, the rule and even spacing."""
        lists = {
            FOUND: ("this list", plan),
            "rule": (f"the {RULE}", self._lists[RULE]),
            "even": (EVEN, self._lists[EVEN]),
        }
        return {key: (name, self.policy(steps)) for key, (name, steps) in lists.items()}

    def compute(self, plan: Steps) -> torch.Tensor:
        """Return the steps as one column."""
        return computed([plan], self._run.num_steps)

    def picture(self, search: Search[Steps]) -> HeatMap:
        """Return the lists that the search began with, and the best so far."""
        best = {} if search.best is None else {"best so far": search.best.plan}
        return picture_of_lists({**search.starts, **best}, self._run.num_steps)

    def facts(self, plan: Steps) -> list[str]:
        """Return the list, and what it computes."""
        ratio = self.measured(plan)["refresh_ratio"]
        return [
            f"full steps: {written(plan)} ({len(plan)} of {self._run.num_steps})",
            f"computes {ratio:.1%} of all calls (refresh ratio {ratio:.3f})",
        ]

    def made(self) -> Mapping[str, str | int]:
        """Return how steps that are left out are forecast."""
        forecast = self._order.forecast
        return {**super().made(), "order": forecast.order, "trust": forecast.trust}

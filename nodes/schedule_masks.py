"""What the search of a mask needs: every block or module has full steps of its own, and is reused as it is in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from ..cache_core import HeatMap, Kind, Policy, Run
from ..cache_core.policies.mask import Mask as MaskPolicy
from ..cache_core.policies.mask import MaskConfig
from ..cache_core.searching.lists import Steps, computed
from ..cache_core.searching.mask_table import MaskTable
from ..cache_core.searching.masks import Mask, Parts
from ..cache_core.searching.outcome import FOUND, artefact_of, picture_of_mask, written
from ..cache_core.searching.record import typical
from ..cache_core.searching.search import FROM_TABLE, Search
from ..cache_core.searching.site_record import SiteRecord
from .host import adapter_of
from .schedule_order import RULE, Order
from .schedule_runs import Runs
from .schedule_ways import Look, Way

FORA = "fixed interval (FORA)"
"""The mask that computes everything every N steps, as near as the speedup comes to a whole N."""

APART = "steps of their own"
"""The mask whose parts are computed in different steps, as the table says."""


class MaskWay(Way[Mask]):
    """Masks for the blocks or modules of a network."""

    kind = Kind.MASK

    def __init__(self, order: Order, run: Run) -> None:
        """Find the sites of the network; how long they take is known once they have run."""
        super().__init__(order, run)
        sites = adapter_of(order.model).sites(order.level)
        calls = tuple(self._calls.count(step) for step in range(run.num_steps))
        self._parts = Parts(sites=sites, pieces=(), calls=calls)

    @property
    def num_weighings(self) -> int:
        """At most one sampling per group."""
        return len(set(self._parts.groups))

    def look(self, runs: Runs, say: Callable[[str], None]) -> Look[Mask]:
        """Record what reuse costs each site, and weigh each group by a real run of the first picture.

        The masks to begin with compute everything in the same steps, but for one, to see what that does.
        """
        seen = self._order.seen
        record = SiteRecord(self._order.level, self._names, self._run)
        results, pieces = runs.record_sites(record, seen)
        self._parts = replace(self._parts, pieces=pieces)
        costs = torch.stack([record.costs[list(unit)].sum(0) for unit in self._parts.units])
        table = MaskTable(costs.numpy(), self._parts, self.num_full)
        errors = {}
        for number, group in enumerate(table.groups, 1):
            say(f"weighing part {number} of {len(table.groups)}")
            policy = self.policy(table.every_second(group))
            errors[group] = typical(runs.errors_of(policy, seen[:1], results[:1]))
        weighed, rule = table.weighed(errors), self._together(self._lists[RULE])
        starts = {RULE: rule, FORA: self._together(self._interval), APART: weighed.apart}
        return Look(table=weighed, starts=starts, results=results)

    def policy(self, plan: Mask) -> Policy:
        """Return a mask."""
        compute = self.compute(plan)
        return MaskPolicy(
            MaskConfig(mask=artefact_of(self.kind, compute, self.network, self.sampling, {}, {}))
        )

    def rivals(self, plan: Mask) -> Mapping[str, tuple[str, Policy]]:
        """Return the mask, a fixed interval at the same cost, and the step list of the rule."""
        return {
            FOUND: ("this mask", self.policy(plan)),
            "fora": (f"everything at a {FORA}", self.policy(self._together(self._interval))),
            "step_list": (f"Step List by its {RULE}", self._order.step_list(speedup=self._order.speedup)),
        }

    def compute(self, plan: Mask) -> torch.Tensor:
        """Return the steps of every site."""
        return computed(self._parts.by_site(plan), self._run.num_steps)

    def picture(self, search: Search[Mask]) -> HeatMap:
        """Return the best mask so far."""
        plan = search.starts[FROM_TABLE] if search.best is None else search.best.plan
        return picture_of_mask(self._names, self.compute(plan))

    def facts(self, plan: Mask) -> list[str]:
        """Return what a mask computes."""
        measured, worth = self.measured(plan), f"{self.num_full} of {self._run.num_steps} steps"
        cost, ratio = measured["cost_ratio"], measured["refresh_ratio"]
        same = f"the same: {written(plan[0])}" if len(set(plan)) == 1 else "their own, see the plot"
        return [
            f"computes {cost:.1%} of the time of all {self._order.searched}: no more than {worth}",
            f"which is {ratio:.1%} of their evaluations (refresh ratio {ratio:.3f})",
            f"steps of the {self._order.searched}: {same}",
        ]

    def measured(self, plan: Mask) -> Mapping[str, float]:
        """Return the share of time too."""
        return {**super().measured(plan), "cost_ratio": self._parts.share(plan)}

    @property
    def _interval(self) -> Steps:
        return tuple(number * self._run.num_steps // self.num_full for number in range(self.num_full))

    def _together(self, steps: Steps) -> Mask:
        return (steps,) * len(self._parts.units)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(str(site) for site in self._parts.sites)

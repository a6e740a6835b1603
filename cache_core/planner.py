"""Decides once per call which sites are computed and which are reused, and remembers what led to it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from .policy import Evidence, Policy
from .store import FeatureStore, MemoryReport
from .types import Action, Call, Lane, Observation, Reading, Site

Plan = Mapping[Site, Action]


class Planner:
    """The decisions of one run.

    A static policy is asked as soon as a call opens. For a dynamic one the call stays undecided until its first
    pass shows the indicator: this is compared with the one that the same lane showed before, which costs the run's
    only wait for the device, one number per call. Where there is nothing to compare, everything is computed.
    """

    def __init__(self, policy: Policy) -> None:
        """Start a run without any call."""
        self._policy = policy
        self._indicators = FeatureStore(1)
        self._trace: tuple[Observation, ...] = ()
        self._plans: dict[tuple[Site, ...], Plan] = {}
        self._call: Call | None = None
        self._observed: float | None = None
        self.is_undecided = False

    @property
    def num_calls(self) -> int:
        """Calls that ended until now."""
        return len(self._trace)

    @property
    def num_bytes(self) -> int:
        """Bytes of indicators that are held now."""
        return self._indicators.num_bytes

    def open(self, call: Call) -> None:
        """Begin a call."""
        self._call = call
        self._plans, self._observed = {}, None
        self.is_undecided = self._policy.indicator is not None

    def close(self, *, reused: bool) -> Observation:
        """End the call, in which anything was `reused` or not; return what is remembered of it."""
        assert self._call is not None
        last = Observation(call=self._call, value=self._observed, computed=not reused)
        self._trace += (last,)
        self._call = None
        return last

    def plan(self, sites: tuple[Site, ...]) -> Plan | None:
        """Return the action for each of a pass's sites, or None while the call is undecided."""
        assert self._call is not None
        if self.is_undecided:
            return None
        if not self._call.may_reuse or (self._policy.indicator is not None and self._observed is None):
            return dict.fromkeys(sites, Action.COMPUTE)
        if sites not in self._plans:
            evidence = Evidence(sites=sites, trace=self._trace, observed=self._observed)
            self._plans[sites] = self._policy.plan(self._call, evidence)
        return self._plans[sites]

    def observe(self, lane: Lane, value: Tensor, grid: tuple[int, int], sites: tuple[Site, ...]) -> None:
        """Decide the call from the indicator of one lane, and keep a copy of it for the next comparison.

        Args:
            lane: The first-listed lane of the call's first pass.
            value: The lane's indicator.
            grid: Rows and columns of the picture's tokens.
            sites: The sites of the pass.
        """
        assert self._call is not None and self._policy.indicator is not None
        site = self._site()
        if self._indicators.has(lane, site):
            before = self._indicators.histories(lane, site)[0][-1]
            current = Reading(call=self._call, value=value, grid=grid)
            previous = Reading(call=before.call, value=before.value, grid=grid)
            self._observed = _finite(self._policy.measure(current, previous))
        self.is_undecided = False
        plan = self.plan(sites)
        assert plan is not None
        if self._policy.compares_with == "last call" or Action.REUSE not in plan.values():
            self._indicators.put(lane, site, self._call, (value,))

    def give_up(self) -> None:
        """Decide the call without an indicator, because its first pass showed none."""
        self.is_undecided = False

    def drop(self, lane: Lane) -> None:
        """Forget the indicator of a lane."""
        self._indicators.drop(lane)

    def end(self) -> MemoryReport:
        """Forget every tensor and return what was held of indicators."""
        return self._indicators.end()

    def _site(self) -> Site:
        assert self._policy.indicator is not None
        return Site(level=self._policy.level, path="indicator", index=0, part=self._policy.indicator.value)


def _finite(change: Tensor) -> float | None:
    value = float(change)
    return value if math.isfinite(value) else None

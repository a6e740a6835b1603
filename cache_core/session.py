"""One sampling run: decides once per call, routes every site of every pass, and counts what happened.

There is no reset. A new run is a new session; it ends with `close`, which gives back the report and forgets
every tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .adapter import Adapter, find_adapter
from .clock import Clock, Span
from .errors import CacheError, FeatureError
from .policy import Evidence, Policy
from .report import Recorder, RunReport
from .store import FeatureStore
from .types import Action, Call, Feature, Lane, Run, Site


class CacheSession:
    """Everything that lives as long as one sampling run."""

    def __init__(self, policy: Policy, run: Run, device: torch.device) -> None:
        """Start a run of `policy` on `device`."""
        self.policy = policy
        self.run = run
        self.clock = Clock(device)
        self.store = FeatureStore(policy.memory)
        self.recorder = Recorder(self.clock)
        self.call: Call | None = None
        self._num_calls = 0
        self._allowed = True
        self._adapters: dict[int, Adapter] = {}
        self._plans: dict[tuple[Site, ...], Mapping[Site, Action]] = {}
        self._seen: Counter[Lane] = Counter()
        self._ambiguous: set[Lane] = set()

    @contextmanager
    def open_call(self, sigma: float, *, allowed: bool = True) -> Iterator[Call]:
        """Open the next call, at noise level `sigma`; where reuse is not `allowed`, everything is computed."""
        index = self._num_calls
        self._num_calls += 1
        self.call = Call(index=index, step=self.run.step_of(index, sigma), sigma=sigma, run=self.run)
        self._plans, self._seen, self._allowed = {}, Counter(), allowed
        span = self.clock.start()
        try:
            yield self.call
        finally:
            self.clock.stop(span)
            self.recorder.add_call(self.call, span)
            self.call = None

    @contextmanager
    def open_pass(self, network: nn.Module, lanes: Sequence[Lane]) -> Iterator[Pass]:
        """Open one pass of `network` that carries `lanes`, in batch order, inside the open call.

        Raises:
            UnsupportedModelError: If no adapter fits the network.
            CacheError: If the pass skipped work whose stand-in was then never put in its place.
        """
        assert self.call is not None
        adapter = self._adapter(network)
        sites = adapter.sites(self.policy.level)
        self.recorder.declare(adapter.name, sites)
        self._find_ambiguous(lanes)
        opened = Pass(self, self.call, adapter, tuple(lanes), self._plan(sites))
        yield opened
        opened.check_promises()

    def close(self, seconds: float) -> RunReport:
        """End the run: forget every tensor and return what happened; `seconds` is the run's wall time."""
        peak = self.store.peak_bytes
        self.store.clear()
        return self.recorder.report(
            policy=self.policy, run=self.run, seconds=seconds, peak_bytes=peak, end_bytes=self.store.num_bytes
        )

    def remember(self, lane: Lane, site: Site, feature: Feature) -> None:
        """Keep a copy of a computed feature of one lane."""
        if lane not in self._ambiguous and self.call is not None:
            self.store.put(lane, site, self.call, feature)

    def _adapter(self, network: nn.Module) -> Adapter:
        if id(network) not in self._adapters:
            self._adapters[id(network)] = find_adapter(network)(network)
        return self._adapters[id(network)]

    def _plan(self, sites: tuple[Site, ...]) -> Mapping[Site, Action]:
        if not self._allowed:
            return dict.fromkeys(sites, Action.COMPUTE)
        if sites not in self._plans:
            assert self.call is not None
            self._plans[sites] = self.policy.plan(self.call, Evidence(sites=sites))
        return self._plans[sites]

    def _find_ambiguous(self, lanes: Sequence[Lane]) -> None:
        """Stop caching a lane that comes twice in one call: the two cannot be told apart."""
        self._seen.update(lanes)
        for lane in lanes:
            if self._seen[lane] > 1 and lane not in self._ambiguous:
                self._ambiguous.add(lane)
                self.store.drop(lane)


class Pass:
    """One network pass: the `Router` that an adapter's forward replacements talk to."""

    def __init__(
        self,
        session: CacheSession,
        call: Call,
        adapter: Adapter,
        lanes: tuple[Lane, ...],
        plan: Mapping[Site, Action],
    ) -> None:
        """Bind a plan to the lanes that this pass carries."""
        self._session, self._call, self._lanes, self._plan = session, call, lanes, plan
        self._reused = {
            site for site, action in plan.items() if action is Action.REUSE and self._all_can_reuse(site)
        }
        self._promised: set[Site] = set()
        self._number = session.recorder.add_pass(call, len(lanes))
        self.patches = tuple(adapter.patches(session.policy.level, self))

    def is_reused(self, *sites: Site) -> bool:
        """Return whether all `sites` are reused for every branch of this pass."""
        return self._reused.issuperset(sites)

    def recall(self, site: Site) -> Feature:
        """Return a new feature that stands in for the site's, for all branches."""
        self._promised.discard(site)
        return _merged([self._estimate(lane, site) for lane in self._lanes])

    def settle(self, site: Site, feature: Feature) -> Feature:
        """Record a computed feature; return it unchanged, or a new one where some branches reuse theirs."""
        reused = self._plan[site] is Action.REUSE
        parts = _split(site, feature, len(self._lanes))
        settled = [
            self._settle_lane(lane, site, part, reused) for lane, part in zip(self._lanes, parts, strict=True)
        ]
        changed = any(new is not part for new, part in zip(settled, parts, strict=True))
        return _merged(settled) if changed else feature

    def timed(self, sites: tuple[Site, ...], compute: Callable[[], Any]) -> Any:
        """Run `compute`; its time, less that of nested calls, is saved when all `sites` are reused."""
        span: Span = self._session.clock.start()
        result = compute()
        self._session.clock.stop(span)
        self._session.recorder.add_work(self._number, sites, span)
        return result

    def route(self, site: Site, compute: Callable[[], Feature]) -> Feature:
        """Recall the site's feature, or compute, time and settle it."""
        if self.is_reused(site):
            return self.recall(site)
        feature: Feature = self.timed((site,), compute)
        return self.settle(site, feature)

    def promise(self, site: Site) -> None:
        """Note that a module was skipped because a later one will `recall` the site."""
        self._promised.add(site)

    def check_promises(self) -> None:
        """Refuse a result from which skipped work is missing.

        Raises:
            CacheError: If a promised feature was not put in its place.
        """
        if self._promised:
            names = ", ".join(str(site) for site in self._promised)
            raise CacheError(
                f"The network was skipped, but its stand-in '{names}' found no place: another node replaced the first "
                "or last transformer block in this call only. Use level 'block' or 'module', or remove that node."
            )

    def _all_can_reuse(self, site: Site) -> bool:
        return all(self._session.store.has(lane, site) for lane in self._lanes)

    def _settle_lane(self, lane: Lane, site: Site, part: Feature, reused: bool) -> Feature:
        if reused and self._session.store.has(lane, site):
            return self._estimate(lane, site)
        self._session.recorder.add_computed(self._call, site)
        self._session.remember(lane, site, part)
        return part

    def _estimate(self, lane: Lane, site: Site) -> Feature:
        self._session.recorder.add_reused(self._call, site)
        histories = self._session.store.histories(lane, site)
        return tuple(self._session.policy.estimate(history, self._call) for history in histories)


def _split(site: Site, feature: Feature, num_lanes: int) -> list[Feature]:
    """Return the feature branch by branch, as views.

    Raises:
        FeatureError: If its batch is no multiple of the number of branches.
    """
    for stream in feature:
        if stream.shape[0] % num_lanes:
            raise FeatureError(
                f"The feature of '{site}' has shape {tuple(stream.shape)}, which {num_lanes} branches cannot share "
                f"evenly along dimension 0. Remove the cache node for this model, and report the model's name."
            )
    return list(zip(*(stream.chunk(num_lanes) for stream in feature), strict=True))


def _merged(parts: Sequence[Feature]) -> Feature:
    return parts[0] if len(parts) == 1 else tuple(torch.cat(group) for group in zip(*parts, strict=True))

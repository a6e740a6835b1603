"""One sampling run: decides once per call, routes every site of every pass, and counts what happened.

There is no reset. A new run is a new session; it ends with `close`, which gives back the report and forgets
every tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .adapter import Adapter, find_adapter, watched
from .clock import Clock, Span
from .errors import CacheError, FeatureError
from .footprint import Footprint
from .planner import Planner
from .policy import Policy
from .probe import Probe, Sample
from .report import Recorder, RunReport
from .residence import Residence
from .store import FeatureStore
from .types import MODEL_SITE, Action, Call, Feature, Indicator, Lane, Run, Site, Target


class CacheSession:
    """Everything that lives as long as one sampling run."""

    def __init__(
        self,
        policy: Policy,
        run: Run,
        device: torch.device,
        residence: Residence | None = None,
        foreseen: Footprint | None = None,
        probe: Probe | None = None,
    ) -> None:
        """Start a run of `policy` on `device`, whose features are held as `residence` says and which `probe` sees.

        Raises:
            ConfigError: If the device cannot convert to the type of `residence`.
            ArtefactError: If the policy's schedule means nothing for this run.
        """
        residence, self.foreseen = residence or Residence(), foreseen or Footprint()
        residence.check(device)
        self.policy = policy
        self.run = run
        self.notes = policy.check_run(run)
        self.probe = probe
        self.clock = Clock(device)
        self.store = FeatureStore(policy.memory, residence, self.foreseen.num_lanes)
        self.recorder = Recorder(self.clock)
        self.call: Call | None = None
        self.planner = Planner(policy)
        self._reused_any = False
        self._adapters: dict[int, Adapter] = {}
        self._seen: Counter[Lane] = Counter()
        self._ambiguous: set[Lane] = set()
        self._weights: dict[Lane, Hashable] = {}

    @contextmanager
    def open_call(self, sigma: float) -> Iterator[Call]:
        """Open the next call, at noise level `sigma`."""
        index = self.planner.num_calls
        self.call = Call(index=index, step=self.run.step_of(index, sigma), sigma=sigma, run=self.run)
        self.planner.open(self.call)
        self._seen, self._reused_any = Counter(), False
        span = self.clock.start()
        try:
            yield self.call
        finally:
            self.clock.stop(span)
            observation = self.planner.close(reused=self._reused_any)
            self.recorder.add_call(self.call, span, observation.value)
            if self.probe is not None:
                self.probe.close_call(self.call, observation.value)
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
        self._forget_outdated(lanes)
        opened = Pass(self, self.call, adapter, tuple(lanes), sites)
        yield opened
        opened.check_promises()
        if self.planner.is_undecided:
            self.planner.give_up()

    def close(self, seconds: float) -> RunReport:
        """End the run: forget every tensor and return what happened; `seconds` is the run's wall time."""
        return self.recorder.report(
            policy=self.policy,
            run=self.run,
            seconds=seconds,
            memory=self.store.end().beside(self.planner.end()),
            foreseen_bytes=self.foreseen.held_bytes,
        )

    def remember(self, lane: Lane, site: Site, feature: Feature) -> None:
        """Keep a copy of a computed feature of one lane."""
        if lane in self._ambiguous or self.call is None:
            return
        if self.probe is not None:
            histories = self.store.histories(lane, site) if self.store.has(lane, site) else ()
            self.probe.see(Sample(call=self.call, lane=lane, site=site, feature=feature, histories=histories))
        self.store.put(lane, site, self.call, feature)

    def estimate(self, lane: Lane, site: Site) -> Feature:
        """Return a new feature that stands in for a site's in one lane."""
        assert self.call is not None
        self._reused_any = True
        self.recorder.add_reused(self.call, site)
        histories = self.store.histories(lane, site)
        return tuple(
            self.policy.estimate(history, Target(call=self.call, site=site, stream=stream, role=lane.role))
            for stream, history in enumerate(histories)
        )

    def observe(self, adapter: Adapter, lane: Lane, value: Tensor, sites: tuple[Site, ...]) -> None:
        """Decide the open call from the indicator of one lane; not from that of lanes that cannot be told apart."""
        if lane in self._ambiguous:
            self.planner.give_up()
        else:
            self.planner.observe(lane, value, adapter.grid(lane.shape), sites)

    def _adapter(self, network: nn.Module) -> Adapter:
        if id(network) not in self._adapters:
            adapter = find_adapter(network)(network)
            adapter.admit(self.policy.level, self.policy.indicator)
            self._adapters[id(network)] = adapter
        return self._adapters[id(network)]

    def _find_ambiguous(self, lanes: Sequence[Lane]) -> None:
        """Stop caching a lane that comes twice in one call: the two cannot be told apart."""
        self._seen.update(lanes)
        for lane in lanes:
            if self._seen[lane] > 1 and lane not in self._ambiguous:
                self._ambiguous.add(lane)
                self._drop(lane)

    def _forget_outdated(self, lanes: Sequence[Lane]) -> None:
        """Forget what lanes showed under other weights: another node changed them during the run."""
        for lane in lanes:
            if self._weights.setdefault(lane, lane.weights) != lane.weights:
                self._weights[lane] = lane.weights
                self._drop(lane)

    def _drop(self, lane: Lane) -> None:
        self.store.drop(lane)
        self.planner.drop(lane)


class Pass:
    """One network pass: the `Router` that an adapter's forward replacements talk to."""

    def __init__(
        self,
        session: CacheSession,
        call: Call,
        adapter: Adapter,
        lanes: tuple[Lane, ...],
        sites: tuple[Site, ...],
    ) -> None:
        """Bind the call's plan to the lanes that this pass carries."""
        self._session, self._call, self._adapter = session, call, adapter
        self._lanes, self._sites = lanes, sites
        self._plan: Mapping[Site, Action] | None = None
        self._reused: set[Site] = set()
        self._follow_plan()
        self._promised: set[Site] = set()
        self._number = session.recorder.add_pass(call, len(lanes))
        self.patches = tuple(adapter.patches(session.policy.level, self))
        if session.probe is not None and session.probe.sees_output and MODEL_SITE not in sites:
            self.patches += (watched(adapter.network, self.witness),)

    @property
    def indicator(self) -> Indicator | None:
        """What the schedule looks at, or None."""
        return self._session.policy.indicator

    def awaits(self) -> bool:
        """Return whether the decision about this call still waits for the indicator."""
        return self._session.planner.is_undecided

    def observe(self, value: Tensor) -> None:
        """Decide the call from the indicator of this pass's first lane; sites from here on follow."""
        first = _split(self.indicator or "indicator", (value,), len(self._lanes))[0]
        self._session.observe(self._adapter, self._lanes[0], first[0], self._sites)
        self._follow_plan()

    def witness(self, output: Tensor) -> None:
        """Show the output of the network to the probe, and keep it for comparison."""
        for lane, part in zip(self._lanes, _split(MODEL_SITE, (output,), len(self._lanes)), strict=True):
            self._session.remember(lane, MODEL_SITE, part)

    def is_reused(self, *sites: Site) -> bool:
        """Return whether all `sites` are reused for every branch of this pass."""
        return self._reused.issuperset(sites)

    def recall(self, site: Site) -> Feature:
        """Return a new feature that stands in for the site's, for all branches."""
        self._promised.discard(site)
        return _merged([self._session.estimate(lane, site) for lane in self._lanes])

    def settle(self, site: Site, feature: Feature) -> Feature:
        """Record a computed feature; return it unchanged, or a new one where some branches reuse theirs."""
        reused = self._plan is not None and self._plan[site] is Action.REUSE
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
            return self._session.estimate(lane, site)
        self._session.recorder.add_computed(self._call, site)
        self._session.remember(lane, site, part)
        return part

    def _follow_plan(self) -> None:
        """Take over the call's plan; until there is one, sites are computed."""
        self._plan = self._session.planner.plan(self._sites)
        self._reused = {
            site
            for site, action in (self._plan or {}).items()
            if action is Action.REUSE and self._all_can_reuse(site)
        }
        self._session.store.expect(
            (lane, site) for site in self._sites if site in self._reused for lane in self._lanes
        )


def _split(what: object, feature: Feature, num_lanes: int) -> list[Feature]:
    """Return the feature branch by branch, as views.

    Raises:
        FeatureError: If its batch is no multiple of the number of branches.
    """
    for stream in feature:
        if stream.shape[0] % num_lanes:
            raise FeatureError(
                f"The feature of '{what}' has shape {tuple(stream.shape)}, which {num_lanes} branches cannot share "
                f"evenly along dimension 0. Remove the cache node for this model, and report the model's name."
            )
    return list(zip(*(stream.chunk(num_lanes) for stream in feature), strict=True))


def _merged(parts: Sequence[Feature]) -> Feature:
    return parts[0] if len(parts) == 1 else tuple(torch.cat(group) for group in zip(*parts, strict=True))

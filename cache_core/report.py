"""What a run did: counted, timed and sized. Numbers only, so a report may outlive its run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from .clock import Clock, Span
from .policy import Policy
from .store import MemoryReport
from .types import Call, Run, Site

Work = tuple[Site, ...]
"""Sites that share a piece of work, which is saved only where all of them are reused."""

Spent = dict[Work, dict[int, float]]
"""Seconds of every piece of work, by the number of the pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """One call: where it was in the schedule, how long it took, and how often each site was computed or reused.

    Attributes:
        computed: Per site of the run, how many branches computed it.
        reused: Per site of the run, how many branches reused it.
        seconds: Time of the call, guidance and other nodes' work in it included.
        observed: The change of the indicator that a dynamic schedule measured, or None.
        work: Seconds of each piece of the run's work that were done in the call.
        full: Whether nothing was reused.
    """

    index: int
    step: int
    sigma: float
    seconds: float
    computed: tuple[int, ...]
    reused: tuple[int, ...]
    observed: float | None = None
    work: tuple[float, ...] = ()

    @property
    def full(self) -> bool:
        """Whether nothing was reused in this call."""
        return not any(self.reused)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One sampling run. All ratios are dimensionless; a run without calls has ratio 1 and speedup 1.

    Attributes:
        settings: The method's settings as text.
        sites: Names of the sites, in the order they run; the columns of every call's counts.
        total_work: Estimated seconds of all site work, had everything been computed.
        saved_work: Estimated seconds of the site work that was not run.
        seconds: Wall time of the run, loading of the model included.
        memory: What was held, given up and found not finite.
        foreseen_bytes: Bytes that were expected to be held at the peak, before the run; 0 where nothing was foreseen.
        notes: What the policy had to say about the run, such as that its schedule was made for other steps.
        pieces: Names of the sites that share each piece of work, which is saved only where all of them are reused; the columns
            of every call's work.
    """

    method: str
    settings: str
    level: str
    family: str
    sampler: str
    num_steps: int
    sites: tuple[str, ...]
    calls: tuple[CallReport, ...]
    total_work: float
    saved_work: float
    seconds: float
    memory: MemoryReport
    foreseen_bytes: int = 0
    notes: tuple[str, ...] = ()
    pieces: tuple[tuple[str, ...], ...] = ()

    @property
    def piece_seconds(self) -> tuple[tuple[tuple[str, ...], float], ...]:
        """Every piece of work with its mean seconds in the calls that did it; the first, which warms up, only if it is alone."""
        columns = zip(*(call.work for call in self.calls[1:] or self.calls), strict=True)
        done = [[seconds for seconds in column if seconds] for column in columns]
        return tuple(
            (names, fmean(own) if own else 0.0) for names, own in zip(self.pieces, done, strict=True)
        )

    @property
    def num_computed(self) -> int:
        """Site evaluations that were computed, branches counted singly."""
        return sum(sum(call.computed) for call in self.calls)

    @property
    def num_reused(self) -> int:
        """Site evaluations that were reused, branches counted singly."""
        return sum(sum(call.reused) for call in self.calls)

    @property
    def peak_bytes(self) -> int:
        """Most bytes of features held at any time."""
        return self.memory.peak_bytes

    @property
    def end_bytes(self) -> int:
        """Bytes of features held after the run: 0."""
        return self.memory.end_bytes

    @property
    def refresh_ratio(self) -> float:
        """Computed over all site evaluations."""
        total = self.num_computed + self.num_reused
        return self.num_computed / total if total else 1.0

    @property
    def cost_ratio(self) -> float:
        """The refresh ratio, weighted by each site's measured time."""
        return 1.0 - self.saved_work / self.total_work if self.total_work else 1.0

    @property
    def call_seconds(self) -> float:
        """Seconds spent in calls."""
        return sum(call.seconds for call in self.calls)

    @property
    def full_call_seconds(self) -> float | None:
        """Mean seconds of a call that computed everything; the first, which warms up, only if it is alone.

        The mean, because the site times that are set against it are means over the same calls.
        """
        full = [call.seconds for call in self.calls if call.full]
        return fmean(full[1:] or full) if full else None

    @property
    def uncached_seconds(self) -> float | None:
        """Estimated seconds of the same calls, had each computed everything; None if no call did."""
        return None if self.full_call_seconds is None else self.full_call_seconds * len(self.calls)

    @property
    def ideal_speedup(self) -> float:
        """Uncached call time over the same less the measured time of the site work that was not run."""
        uncached = self.uncached_seconds
        if uncached is None or uncached <= self.saved_work:
            return 1.0
        return uncached / (uncached - self.saved_work)

    @property
    def measured_speedup(self) -> float:
        """Uncached call time, estimated from the full calls of this run, over the time the calls took.

        The first call counts as a full one of ordinary length: what it takes to warm up is not the cache's.
        """
        if self.full_call_seconds is None or len(self.calls) < 2:
            return 1.0
        taken = self.full_call_seconds + sum(call.seconds for call in self.calls[1:])
        return self.full_call_seconds * len(self.calls) / taken if taken else 1.0


class Recorder:
    """Collects counts and spans during a run; reads the clock only when the run is over."""

    def __init__(self, clock: Clock) -> None:
        """Start with nothing recorded."""
        self._clock = clock
        self._family = "none"
        self._sites: dict[Site, None] = {}
        self._calls: list[tuple[Call, Span, float | None]] = []
        self._computed: dict[tuple[int, Site], int] = defaultdict(int)
        self._reused: dict[tuple[int, Site], int] = defaultdict(int)
        self._passes: list[tuple[int, int]] = []
        self._work: dict[Work, dict[int, list[Span]]] = defaultdict(lambda: defaultdict(list))

    def declare(self, family: str, sites: tuple[Site, ...]) -> None:
        """Note the family and the sites of a pass, in the order they run."""
        self._family = family
        self._sites.update(dict.fromkeys(sites))

    def add_call(self, call: Call, span: Span, observed: float | None = None) -> None:
        """Note a call that ended, and the change of the indicator that was observed in it."""
        self._calls.append((call, span, observed))

    def add_computed(self, call: Call, site: Site) -> None:
        """Count a site as computed for one branch."""
        self._computed[call.index, site] += 1

    def add_reused(self, call: Call, site: Site) -> None:
        """Count a site as reused for one branch."""
        self._reused[call.index, site] += 1

    @property
    def counts(self) -> tuple[int, int]:
        """Site evaluations computed and reused until now."""
        return sum(self._computed.values()), sum(self._reused.values())

    def add_pass(self, call: Call, num_lanes: int) -> int:
        """Note a pass that carries `num_lanes` branches; return its number."""
        self._passes.append((call.index, num_lanes))
        return len(self._passes) - 1

    def add_work(self, number: int, sites: Work, span: Span) -> None:
        """Note a span of work that pass `number` did for `sites`."""
        self._work[sites][number].append(span)

    def report(
        self, *, policy: Policy, run: Run, seconds: float, memory: MemoryReport, foreseen_bytes: int
    ) -> RunReport:
        """Return the report of the run."""
        spent = self._spent()
        done, saved = self._work_seconds(spent)
        return RunReport(
            method=policy.label,
            settings=policy.describe(),
            level=policy.level.value,
            family=self._family,
            sampler=run.sampler,
            num_steps=run.num_steps,
            sites=tuple(str(site) for site in self._sites),
            calls=tuple(self._call_report(*ended, spent) for ended in self._calls),
            total_work=done + saved,
            saved_work=saved,
            seconds=seconds,
            memory=memory,
            foreseen_bytes=foreseen_bytes,
            notes=policy.check_run(run),
            pieces=tuple(tuple(map(str, sites)) for sites in spent),
        )

    def _call_report(self, call: Call, span: Span, observed: float | None, spent: Spent) -> CallReport:
        passes = {number for number, (index, _) in enumerate(self._passes) if index == call.index}
        return CallReport(
            index=call.index,
            step=call.step,
            sigma=call.sigma,
            seconds=self._clock.seconds(span),
            computed=tuple(self._computed.get((call.index, site), 0) for site in self._sites),
            reused=tuple(self._reused.get((call.index, site), 0) for site in self._sites),
            observed=observed,
            work=tuple(sum(by_pass[n] for n in passes & by_pass.keys()) for by_pass in spent.values()),
        )

    def _spent(self) -> Spent:
        return {
            sites: {n: sum(map(self._clock.own_seconds, spans)) for n, spans in by_pass.items()}
            for sites, by_pass in self._work.items()
        }

    def _work_seconds(self, spent: Spent) -> tuple[float, float]:
        """Return the seconds of work at the sites that was done and that was saved.

        Both are counts times the mean seconds per branch, so that noise cancels in their ratio.
        """
        done = saved = 0.0
        for sites, by_pass in spent.items():
            mean = self._seconds_per_branch(by_pass)
            num_done = sum(self._passes[number][1] for number in by_pass)
            num_all = self._num_evaluations(sites[0])
            done += mean * num_done
            saved += mean * max(num_all - num_done, 0)
        return done, saved

    def _seconds_per_branch(self, by_pass: dict[int, float]) -> float:
        """Return the mean time of a piece of work; the first call, which warms up, only if it is alone."""
        warm = [number for number in by_pass if self._passes[number][0] > 0] or list(by_pass)
        return sum(by_pass[n] for n in warm) / sum(self._passes[n][1] for n in warm)

    def _num_evaluations(self, site: Site) -> int:
        return sum(
            counts.get((call.index, site), 0)
            for call, *_ in self._calls
            for counts in (self._computed, self._reused)
        )

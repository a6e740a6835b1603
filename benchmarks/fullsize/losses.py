"""Where the time goes that a cache takes for itself; measured in pictures of their own, which carry the clocks for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from .sampling import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Seconds of one cached picture, on the device's own clock.

    Attributes:
        calls: In calls of the diffusion model.
        copies: Of these, spent on putting features where they are held, and on the sum that shows whether they are finite.
        stand_ins: Spent on making stand-ins, the way of features from host memory included.
        deciding: Spent on comparing what the schedule looks at and on waiting for the answer.
        idle: Share of the picture's time in which the device ran nothing; None on the CPU.
    """

    calls: float
    copies: float
    stand_ins: float
    deciding: float
    idle: float | None


class Parts:
    """Times what a session does beside the network."""

    def __init__(self, clock: Any) -> None:
        """Measure with a clock of `cache_core`."""
        self._clock = clock
        self._spans: dict[str, list[Any]] = defaultdict(list)

    def watch(self, session: Any) -> None:
        """Put clocks around three functions of a session, which ends with its run."""
        session.store.put = self._timed("copies", session.store.put)
        session.estimate = self._timed("stand_ins", session.estimate)
        session.planner.observe = self._timed("deciding", session.planner.observe)

    def seconds(self, part: str) -> float:
        """Return the seconds of one part."""
        return sum(self._clock.seconds(span) for span in self._spans[part])

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            span = self._clock.start()
            result = function(*args, **kwargs)
            self._clock.stop(span)
            self._spans[part].append(span)
            return result

        return timed


def losses(bench: Bench, cached: Any) -> Losses:
    """Sample two pictures with a warm MODEL that carries a cache: one with clocks inside, one under the profiler."""
    parts = Parts(bench.new_clock())
    sampled = bench.sample(bench.with_session(cached, parts.watch))
    return Losses(
        calls=sampled.calls,
        copies=parts.seconds("copies"),
        stand_ins=parts.seconds("stand_ins"),
        deciding=parts.seconds("deciding"),
        idle=idle(bench, cached),
    )


def idle(bench: Bench, model: Any) -> float | None:
    """Return the share of a picture's time in which the device ran nothing; None on the CPU, which runs the host too."""
    if bench.subject.device.type != "cuda":
        return None
    # Only what the device does is recorded: to record the host as well would slow the host down.
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        sampled = bench.sample(model)
    busy = covered(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA
    )
    return max(0.0, 1.0 - busy / 1e6 / sampled.seconds)


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of some intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total

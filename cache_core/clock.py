"""Measures work without waiting for it: CPU seconds, or device events that are read when the run is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

Mark = float | torch.Event


@dataclass(slots=True)
class Span:
    """A stretch of work, with the spans that were measured inside it."""

    start: Mark
    end: Mark | None = None
    children: list[Span] = field(default_factory=list)


class Clock:
    """Times spans on one device, nested like the code that runs in them."""

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        """Choose events on CUDA, where a host clock would only see the launches; the host clock `now`, in seconds, elsewhere."""
        self._device, self.now = device, now
        self._open: list[Span] = []

    def start(self) -> Span:
        """Open a span inside the one that is open now."""
        span = Span(self._mark())
        if self._open:
            self._open[-1].children.append(span)
        self._open.append(span)
        return span

    def stop(self, span: Span) -> None:
        """Close a span, and with it any inside it that an exception left open."""
        span.end = self._mark()
        while self._open and self._open.pop() is not span:
            pass

    def seconds(self, span: Span) -> float:
        """Return the length of a closed span; waits for the device once if need be. 0 if it was never closed."""
        if span.end is None:
            return 0.0
        if isinstance(span.end, torch.Event) and isinstance(span.start, torch.Event):
            span.end.synchronize()
            return float(span.start.elapsed_time(span.end)) / 1000.0
        assert isinstance(span.end, float) and isinstance(span.start, float)
        return span.end - span.start

    def own_seconds(self, span: Span) -> float:
        """Return the length of a span less that of the spans inside it."""
        return max(self.seconds(span) - sum(self.seconds(child) for child in span.children), 0.0)

    def _mark(self) -> Mark:
        if self._device.type != "cuda":
            return self.now()
        event = torch.Event(self._device, enable_timing=True)
        event.record()
        return event

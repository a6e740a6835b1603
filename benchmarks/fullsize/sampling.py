"""Samples one network without and with a cache, and says what each picture took."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from quality.calibration import threshold_for
from quality.engine import Engine

from .networks import Subject, sample
from .presets import Preset

_OURS = "bench_gpu"
"""Our key among a MODEL's wrappers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What one picture took.

    Attributes:
        seconds: Until its latent is in host memory.
        calls: Seconds of the calls of the diffusion model; by the device's events on CUDA.
        saved: Seconds of the site work that was not run; 0 without a cache.
        refresh: Computed over all site evaluations.
        peak_bytes: Most memory of the device that was in use at any time; 0 on the CPU.
        held_bytes: Most bytes of features that were held at any time.
    """

    seconds: float
    calls: float
    saved: float = 0.0
    refresh: float = 1.0
    peak_bytes: int = 0
    held_bytes: int = 0


class CallTimes:
    """Times every call that the sampler asks for, other nodes' and our own wrappers included."""

    def __init__(self, clock: Any) -> None:
        """Measure with a clock of `cache_core`."""
        self._clock = clock
        self._spans: list[Any] = []

    def predict_noise(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Wrap one call; nothing is waited for."""
        span = self._clock.start()
        try:
            return executor(*args, **kwargs)
        finally:
            self._clock.stop(span)
            self._spans.append(span)

    def take(self) -> float:
        """Return the seconds of all calls since the last time."""
        spans, self._spans = self._spans, []
        return sum(self._clock.seconds(span) for span in spans)


class Bench:
    """One network, without torch.compile or with it, and everything that its MODELs are made with."""

    def __init__(
        self, engine: Engine, subject: Subject, steps: int, now: Callable[[], float], backend: str = ""
    ) -> None:
        """Sample `subject` in so many steps.

        Args:
            engine: Of the caches.
            subject: The network.
            steps: Of a picture.
            now: The clock of the host, in seconds.
            backend: Of torch.compile, which is set as the host's own node sets it; "" for none.
        """
        self.engine, self.subject, self.steps, self.now = engine, subject, steps, now
        self.is_compiled = bool(backend)
        self._calls = CallTimes(self.new_clock())
        self.plain = self._watched(_compiled(subject.model, backend) if backend else subject.model)

    def new_clock(self) -> Any:
        """Return a clock of `cache_core` for the device: events on CUDA, else `now`."""
        clock = importlib.import_module(f"{self.engine.core.__name__}.clock").Clock
        return clock(self.subject.device, self.now)

    def carrying(self, preset: Preset, **found: Any) -> Any:
        """Return the MODEL with a cache, some settings of which were `found` for the network."""
        core, host = self.engine.core, self.engine.host
        residence = core.Residence(device=torch.device("cpu") if preset.in_host_memory else None)
        policy = preset.policy(core, **found)
        cached = host.attach(self.plain, host.CacheBinding(policy, 0.0, 1.0, residence, is_shown=False))
        return self.with_session(cached, self._share_clock)

    def with_session(self, cached: Any, use: Callable[[Any], None]) -> Any:
        """Return a MODEL whose every run shows `use` its session before the first call."""
        from comfy.patcher_extension import WrappersMP

        key = self.engine.host.KEY

        def outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
            use(executor.class_obj.model_options["transformer_options"][key])
            return executor(*args, **kwargs)

        clone = cached.clone()
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _OURS, outer_sample)
        return clone

    def sample(self, model: Any, steps: int | None = None) -> Sampled:
        """Sample one picture with one of the MODELs."""
        device = self.subject.device
        self._wait()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        started = self.now()
        sample(self.subject, model, steps or self.steps)
        self._wait()
        seconds = self.now() - started
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
        return self._sampled(model, seconds, peak)

    def threshold(self, preset: Preset) -> float:
        """Return the threshold at which a method computes its share of the calls, as the uncached run showed them."""
        model = self.carrying(preset, threshold=0.0)
        self.sample(model)
        binding = self.engine.host.find_binding(model)
        shown = [call.observed for call in binding.ledger.report.calls if call.observed is not None]
        assert preset.share is not None
        return threshold_for([[binding.policy.rescale(change) for change in shown]], preset.share)

    def _sampled(self, model: Any, seconds: float, peak_bytes: int) -> Sampled:
        binding = self.engine.host.find_binding(model)
        took = {"seconds": seconds, "calls": self._calls.take(), "peak_bytes": peak_bytes}
        if binding is None:
            return Sampled(**took)
        report = binding.ledger.report
        return Sampled(
            **took, saved=report.saved_work, refresh=report.refresh_ratio, held_bytes=report.peak_bytes
        )

    def _watched(self, model: Any) -> Any:
        """Return the MODEL whose calls are timed; its wrapper is the outermost, since it is the first."""
        from comfy.patcher_extension import WrappersMP

        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, _OURS, self._calls.predict_noise)
        return clone

    def _share_clock(self, session: Any) -> None:
        session.clock.now = self.now

    def _wait(self) -> None:
        if self.subject.device.type == "cuda":
            torch.cuda.synchronize(self.subject.device)


def _compiled(model: Any, backend: str) -> Any:
    """Return the MODEL as the host's node TorchCompileModel gives it."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    clone = model.clone()
    # Guards on the options would compile every call anew.
    keep = {"guard_filter_fn": lambda entries: ["transformer_options" not in entry.name for entry in entries]}
    set_torch_compile_wrapper(model=clone, backend=backend, options=None if backend == "eager" else keep)
    return clone

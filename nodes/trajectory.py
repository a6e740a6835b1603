"""Lends ComfyUI's sampling to a training: schedule, sampler, guidance and prompts are the host's, at every call.

The sampler itself runs. Two wrappers on a cloned MODEL ask the training for the answer to each of its calls, and route each pass of the
network through the training's session. Nodes run in inference mode, which records nothing for a backward pass: all this happens
outside of it, on tensors that were made outside of it or stand in for those that were not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

from ..cache_core import Call, ConfigError, Policy, Run, RunReport, scoped_forwards
from ..cache_core.training.gradients import frozen, ordinary
from ..cache_core.training.session import TrainingSession
from ..cache_core.training.trajectory import Draw, Handler
from .compiled import uncompiled
from .host import CacheBinding, attach
from .lanes import lanes_of
from .runs import picture_size, run_of
from .samplers import call_steps
from .uncached import Conditioning, KSamplerSettings, fitting, noise_levels

KEY = "feature_cache_training"
"""Our key among the wrappers."""


class HostTrajectory:
    """The sampling of a KSampler with these settings, as a training sees it."""

    def __init__(
        self,
        model: Any,
        settings: KSamplerSettings,
        prompts: Sequence[Conditioning],
        negative: Conditioning,
        latent: dict[str, Any],
        clean: dict[str, Any] | None = None,
    ) -> None:
        """Sample `model` for each of `prompts`.

        Args:
            model: A MODEL without a cache.
            settings: Of the KSampler.
            prompts: One list for every prompt.
            negative: The negative prompt of all.
            latent: A LATENT of the size to train at; only its shape counts.
            clean: A LATENT of clean pictures of that size, or None.

        Raises:
            ConfigError: If there is no prompt, the sampler's calls are not known beforehand, or sizes differ.
        """
        self._model, self._settings = model, settings
        with torch.inference_mode(False):
            self._prompts = [_ordinary(prompt) for prompt in prompts]
            self._negative = _ordinary(negative)
            self._empty = torch.zeros_like(fitting(model, latent)[:1], device="cpu")
            self._clean = None if clean is None else _ordinary(fitting(model, clean)).cpu()
            self._sigmas = torch.tensor(noise_levels(model, settings))
        self._sampler = comfy.samplers.sampler_object(settings.sampler)
        self._require_sound()
        guider = comfy.samplers.CFGGuider(model)
        guider.set_cfg(settings.cfg)
        self._run = run_of(guider, self._empty, self._sampler, self._sigmas, (0.0, 1.0))

    @property
    def run(self) -> Run:
        """The whole schedule and what else is known of a run."""
        return self._run

    @property
    def num_prompts(self) -> int:
        """Number of prompts."""
        return len(self._prompts)

    @property
    def has_clean(self) -> bool:
        """Whether there are clean pictures."""
        return self._clean is not None

    def sample(self, draw: Draw, handle: Handler) -> torch.Tensor:
        """Sample once, asking `handle` at every call, and return the end (B, C, ...)."""
        sigmas = self._schedule(draw)
        answering = _Answering(self._run, draw.first, tuple(sigmas.tolist()), handle)
        return self._sampled(answering.attached(self._model), draw)

    def timed(self, draw: Draw, policy: Policy) -> RunReport:
        """Sample once as the cache nodes do with a cache that follows `policy`, and return the report of that run.

        Raises:
            CacheConflictError: If the MODEL carries another node that cannot work beside a cache.
        """
        binding = CacheBinding(policy, 0.0, 1.0, is_shown=False)
        self._sampled(attach(self._model, binding), draw)
        assert binding.ledger.report is not None
        return binding.ledger.report

    def _schedule(self, draw: Draw) -> torch.Tensor:
        return self._sigmas[draw.first : None if draw.stop is None else draw.stop + 1]

    def _sampled(self, model: Any, draw: Draw) -> torch.Tensor:
        """Return the end of a sampling of `model`, which is ours with what looks at it."""
        with torch.inference_mode(False), torch.no_grad():
            samples: torch.Tensor = comfy.sample.sample_custom(
                model,
                self._noise(draw.seeds),
                self._settings.cfg,
                self._sampler,
                self._schedule(draw),
                self._prompts[draw.prompt],
                self._negative,
                self._start(draw),
                disable_pbar=True,
                seed=draw.seeds[0],
            )
            return samples

    def _noise(self, seeds: Sequence[int]) -> torch.Tensor:
        drawn = [
            torch.randn(self._empty.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        return torch.cat(drawn)

    def _start(self, draw: Draw) -> torch.Tensor:
        """Return the pictures (B, C, ...) that noise is added to: drawn by their seeds, or empty ones."""
        if not draw.clean or self._clean is None:
            return self._empty.repeat(len(draw.seeds), *[1] * (self._empty.ndim - 1))
        chosen: torch.Tensor = self._clean[[seed % len(self._clean) for seed in draw.seeds]]
        return chosen

    def _require_sound(self) -> None:
        found, name = [], self._settings.sampler
        if not self._prompts or not all(self._prompts):
            found.append("'positive' holds no prompt: connect a text encoder")
        if call_steps(name, self._sigmas.tolist()) is None:
            found.append(
                f"the sampler '{name}' decides while it samples how often it calls the model, so its steps cannot be "
                "trained one by one: choose another, such as 'euler' or 'dpmpp_2m'"
            )
        if self._clean is not None and self._clean.shape[1:] != self._empty.shape[1:]:
            size, other = picture_size(self._model, self._clean), picture_size(self._model, self._empty)
            found.append(
                f"the clean pictures have {size[0]} x {size[1]} pixels, the training {other[0]} x {other[1]}: scale them, "
                "or train at their size"
            )
        if found:
            raise ConfigError(f"Cannot train with these inputs: {'; '.join(found)}.")


@dataclass
class _Answering:
    """Our wrappers for the length of one sampling."""

    run: Run
    first: int
    sigmas: tuple[float, ...]
    handle: Handler
    num_calls: int = 0
    session: TrainingSession | None = None

    def attached(self, model: Any) -> Any:
        """Return a clone of a MODEL that asks us."""
        patched = model.clone()
        wrappers = {
            WrappersMP.SAMPLER_SAMPLE: self.sampler_sample,
            WrappersMP.PREDICT_NOISE: self.predict_noise,
            WrappersMP.APPLY_MODEL: self.apply_model,
        }
        for kind, wrapper in wrappers.items():
            patched.wrappers.setdefault(kind, {})[KEY] = [wrapper]
        return patched

    def sampler_sample(self, executor: Any, guider: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep gradients off the weights while the sampler runs, which is when they are in their place."""
        with frozen(guider.inner_model.diffusion_model), _in_training():
            return executor(guider, *args, **kwargs)

    def predict_noise(
        self,
        executor: Any,
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: Any = None,
        seed: Any = None,
    ) -> Any:
        """Let the training answer one call of the sampler."""
        sigma = float(timestep.max())
        local = Run(sigmas=self.sigmas, call_steps=call_steps(self.run.sampler, self.sigmas))
        step = self.first + local.step_of(self.num_calls, sigma)
        call = Call(index=self.num_calls, step=step, sigma=sigma, run=self.run)
        self.num_calls += 1

        def predict(session: TrainingSession) -> torch.Tensor:
            self.session = session
            try:
                prediction: torch.Tensor = executor(x, timestep, model_options, seed)
                return prediction
            finally:
                self.session = None

        return self.handle(call, predict)

    def apply_model(
        self,
        executor: Any,
        x: torch.Tensor,
        t: torch.Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Route one pass of the live network through the session."""
        options = transformer_options or {}
        arguments = (x, t, c_concat, c_crossattn, control, options)
        if self.session is None or not options.get("uuids"):
            return executor(*arguments, **kwargs)
        network = uncompiled(executor.class_obj.diffusion_model)
        lanes = lanes_of(executor.class_obj, x, c_crossattn, control, options)
        with self.session.open_pass(network, lanes) as opened, scoped_forwards(opened.patches):
            return executor(*arguments, **kwargs)


def free_bytes(model: Any) -> int:
    """Return how much of its device a MODEL leaves to a training: what is free, and what ComfyUI can unload for it."""
    device = torch.device(model.load_device)
    free = int(comfy.model_management.get_free_memory(device))
    if device.type == "cpu":
        return free
    loaded = comfy.model_management.current_loaded_models
    ours = sum(one.model_loaded_memory() for one in loaded if torch.device(one.device) == device)
    return int(free + ours - model.model_size())


@contextmanager
def _in_training() -> Iterator[None]:
    """Turn the host's own switch, by which its networks leave out kernels that have no backward pass."""
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        yield
    finally:
        comfy.model_management.in_training = before


def _ordinary(value: Any) -> Any:
    """Return nested containers whose tensors may be part of a backward pass."""
    if isinstance(value, torch.Tensor):
        return ordinary(value)
    if isinstance(value, dict):
        return {key: _ordinary(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_ordinary, value))
    return value

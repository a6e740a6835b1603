"""What is known about a run before it starts, from the host's guider, sampler and schedule."""

from __future__ import annotations

import math
from typing import Any

import comfy.model_sampling
import comfy.samplers
import torch

from ..cache_core import Run, SamplerClass
from .samplers import call_sigmas, call_steps, sampler_class, sampler_name


def run_of(
    guider: Any, noise: torch.Tensor, sampler: Any, sigmas: torch.Tensor, window: tuple[float, float]
) -> Run:
    """Return the run that `guider` is about to make.

    Args:
        guider: Any of the host's.
        noise: (B, C, ..., H, W), as large as the latent.
        sampler: The host's sampler with its settings.
        sigmas: (T + 1,) schedule, noisiest first.
        window: From where to where of the sampling reuse is allowed, both from 0 to 1.
    """
    model_sampling = guider.model_patcher.get_model_object("model_sampling")
    schedule, name = tuple(sigmas.tolist()), sampler_name(sampler)
    start, end = (float(model_sampling.percent_to_sigma(percent)) for percent in window)
    return Run(
        sigmas=schedule,
        sampler=name,
        sampler_class=SamplerClass(sampler_class(sampler)),
        call_steps=call_steps(name, schedule),
        call_sigmas=call_sigmas(sampler, schedule),
        flow=isinstance(model_sampling, comfy.model_sampling.CONST),
        # The host's own ends are finite stand-ins for no limit.
        reuse_from=math.inf if window[0] <= 0 else start,
        reuse_to=-math.inf if window[1] >= 1 else end,
        cfg=_scale(guider),
        size=picture_size(guider.model_patcher, noise),
    )


def _scale(guider: Any) -> float | None:
    """Return the scale of guidance; None for a guider that mixes in its own way, maybe more than two predictions."""
    mixes = type(guider).predict_noise is comfy.samplers.CFGGuider.predict_noise
    return float(guider.cfg) if mixes else None


def picture_size(model: Any, latent: torch.Tensor) -> tuple[int, int]:
    """Return width and height in pixels of what `latent` (B, C, ..., H, W) is or will become."""
    scale = model.get_model_object("latent_format").spacial_downscale_ratio
    return latent.shape[-1] * scale, latent.shape[-2] * scale

"""Samples a MODEL as the host's KSampler node does: what a calibration looks at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch

SAMPLERS: tuple[str, ...] = tuple(comfy.samplers.KSampler.SAMPLERS)
SCHEDULERS: tuple[str, ...] = tuple(comfy.samplers.KSampler.SCHEDULERS)

SECONDS_BETWEEN_PICTURES = 2.0

Conditioning = list[Any]
"""As the host passes it: a list of prompts that act together, each with its options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KSamplerSettings:
    """The widgets of a KSampler."""

    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float = 1.0


def noise_levels(model: Any, settings: KSamplerSettings) -> tuple[float, ...]:
    """Return the schedule that the settings mean for `model`, noisiest first."""
    sampler = comfy.samplers.KSampler(
        model,
        steps=settings.steps,
        device=model.load_device,
        sampler=settings.sampler,
        scheduler=settings.scheduler,
        denoise=settings.denoise,
        model_options=model.model_options,
    )
    return tuple(sampler.sigmas.tolist())


def fitting(model: Any, latent: dict[str, Any]) -> Any:
    """Return the samples of a LATENT, an empty one with as many channels as `model` has."""
    # The host's function takes the ratios from that version on in which its nodes put them into the latent.
    known = ("downscale_ratio_spacial", "downscale_ratio_temporal")
    ratios = {name: latent[name] for name in known if name in latent}
    return comfy.sample.fix_empty_latent_channels(model, latent["samples"], **ratios)


def sample(
    model: Any,
    settings: KSamplerSettings,
    positive: Conditioning,
    negative: Conditioning,
    latent: dict[str, Any],
    seed: int,
    on_step: Callable[[], None],
) -> torch.Tensor:
    """Sample once and return the final latents (B, C, ...); `on_step` is called after every step."""
    picture = fitting(model, latent)
    samples: torch.Tensor = comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(picture, seed, latent.get("batch_index")),
        settings.steps,
        settings.cfg,
        settings.sampler,
        settings.scheduler,
        positive,
        negative,
        picture,
        denoise=settings.denoise,
        noise_mask=latent.get("noise_mask"),
        callback=lambda *args: on_step(),
        disable_pbar=True,
        seed=seed,
    )
    return samples


def progress(total: int) -> Callable[[], None]:
    """Return a function that advances the executing node's bar by one of `total`."""
    bar = comfy.utils.ProgressBar(total)
    return lambda: bar.update(1)


def live_progress(total: int) -> Callable[[int, Callable[[], Any] | None], None]:
    """Return a function that sets the executing node's bar to a number of `total`, and shows a picture there.

    The picture is made by the second argument, if there is one, and only where the last is some seconds old.
    """
    bar, drawn_at = comfy.utils.ProgressBar(total), -math.inf

    def show(value: int, picture: Callable[[], Any] | None) -> None:
        nonlocal drawn_at
        preview = None
        if picture is not None and time.monotonic() - drawn_at > SECONDS_BETWEEN_PICTURES:
            preview, drawn_at = ("JPEG", picture(), None), time.monotonic()
        bar.update_absolute(value, total, preview)

    return show

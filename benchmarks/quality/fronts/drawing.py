"""Draws pictures on any noise levels with the host's samplers, each picture with noise of its own seed throughout.

The host draws the noise that an ancestral sampler adds for a batch as a whole; here every picture has its own generator, so
that one that is drawn alone is the one that is drawn in company.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from metrics.study.cells import Cell as Setting
from metrics.study.cells import requests
from torch import Tensor
from zoo.sampling import Pipeline, condition

ANCESTRAL = frozenset(["euler_ancestral"])
"""Samplers whose noise on the way is drawn here."""


@dataclass(frozen=True)
class Trail:
    """What a run passed through.

    Attributes:
        states: (B, C, h, w) at the start of every step.
        outputs: The clean picture expected there, of the same shape.
    """

    states: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)

    def note(self, step: int, denoised: Tensor, state: Tensor, num_steps: int) -> None:
        """Keep a step, as the host's samplers tell it."""
        self.states.append(state.float().clone())
        self.outputs.append(denoised.float().clone())


class PictureNoise:
    """Noise that is added on the way: a stream of its own for every picture."""

    def __init__(self, seeds: Sequence[int]) -> None:
        """Begin all streams; not where `prepare_noise` begins those of the first noise."""
        self._streams = [torch.Generator().manual_seed(seed + 1) for seed in seeds]

    def like(self, batch: Tensor) -> Tensor:
        """Return the next noise of every picture of `batch` (B, C, h, w)."""
        parts = [torch.randn(batch.shape[1:], generator=stream) for stream in self._streams]
        return torch.stack(parts).to(batch)


@torch.inference_mode()
def draw_latents(
    pipeline: Pipeline,
    setting: Setting,
    seeds: Sequence[int],
    sigmas: Sequence[float],
    callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
) -> Tensor:
    """Draw the pictures of some seeds in one call of the host's sampler.

    Args:
        pipeline: With the MODEL that draws.
        setting: Sampler and guidance; its number of steps is not looked at.
        seeds: B of them.
        sigmas: Noise levels, noisiest first, one more than there are steps.
        callback: Gets the step, the expected clean picture, the state and the number of steps.

    Returns:
        (B, C, h, w) float32, in the latent format's own scale.
    """
    noise = _noise(pipeline, seeds)
    sampler = _sampler(setting.sampler, seeds, noise)
    return _sample(pipeline, setting, seeds, sigmas, noise, sampler, callback)


@torch.inference_mode()
def predict_at(
    pipeline: Pipeline,
    setting: Setting,
    seeds: Sequence[int],
    sigmas: Sequence[float],
    states: Sequence[Tensor],
) -> list[Tensor]:
    """Return what a MODEL expects step by step if every step begins where another run was.

    Args:
        pipeline: With the MODEL that predicts.
        setting: As for `draw_latents`; one step is one call whatever its sampler.
        seeds: B of them.
        sigmas: As for `draw_latents`.
        states: T of (B, C, h, w), as `Trail` keeps them.

    Returns:
        T expected clean pictures of the same shape, after guidance.
    """
    import comfy.samplers

    outputs: list[Tensor] = []

    # The name tells whoever asks that it calls the MODEL as often as Euler's method does.
    def sample_euler(model: Any, start: Tensor, levels: Tensor, extra_args: Any, **_: Any) -> Tensor:
        for state, sigma in zip(states, levels, strict=False):
            outputs.append(model(state.to(start), sigma.expand(len(state)), **extra_args).float().clone())
        return start

    _sample(pipeline, setting, seeds, sigmas, _noise(pipeline, seeds), comfy.samplers.KSAMPLER(sample_euler))
    return outputs


def _noise(pipeline: Pipeline, seeds: Sequence[int]) -> Tensor:
    import comfy.sample

    side = pipeline.size // 8
    empty = torch.zeros(1, pipeline.channels, side, side)
    return torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in seeds])


def _sample(
    pipeline: Pipeline,
    setting: Setting,
    seeds: Sequence[int],
    sigmas: Sequence[float],
    noise: Tensor,
    sampler: Any,
    callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
) -> Tensor:
    import comfy.sample

    latents: Tensor = comfy.sample.sample_custom(
        pipeline.model,
        noise,
        setting.cfg,
        sampler,
        torch.tensor(sigmas),
        condition([one.caption for one in requests(setting, seeds)]),
        condition([""]),
        torch.zeros_like(noise),
        callback=callback,
        disable_pbar=True,
        seed=seeds[0],
    )
    return latents.float().cpu()


def _sampler(name: str, seeds: Sequence[int], noise: Tensor) -> Any:
    import comfy.samplers

    if name not in ANCESTRAL:
        return comfy.samplers.sampler_object(name)
    own = PictureNoise(seeds)
    return comfy.samplers.ksampler(name, {"noise_sampler": lambda sigma, sigma_next: own.like(noise)})

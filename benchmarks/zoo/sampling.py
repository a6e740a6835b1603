"""Samples the zoo's checkpoints with the host's stock loaders and sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import autoencoder, flux
from .captions import embed
from .host import prepare_host


@dataclass(frozen=True)
class Pipeline:
    """The host's own wrappers around the two checkpoints."""

    model: Any
    vae: Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """One picture: Euler on the simple schedule."""

    caption: str
    seed: int
    steps: int = 20
    cfg: float = 4.0
    size: int = flux.SAMPLING_SIZE


def load_pipeline() -> Pipeline:
    """Load both checkpoints as UNETLoader and VAELoader do."""
    prepare_host()
    import comfy.sd

    return Pipeline(model=comfy.sd.load_diffusion_model(str(flux.CHECKPOINT)), vae=load_vae())


def load_vae() -> Any:
    """Load the autoencoder as VAELoader does."""
    prepare_host()
    import comfy.sd
    import comfy.utils

    weights, metadata = comfy.utils.load_torch_file(str(autoencoder.CHECKPOINT), return_metadata=True)
    return comfy.sd.VAE(sd=weights, metadata=metadata)


def condition(caption: str) -> list[list[Any]]:
    """The host's conditioning for a caption."""
    embedding = embed(caption)
    return [[embedding.context, {"pooled_output": embedding.pooled}]]


@torch.inference_mode()
def sample(pipeline: Pipeline, request: Request) -> Tensor:
    """Draw one picture.

    Args:
        pipeline: From `load_pipeline`.
        request: Caption, seed and sampler settings.

    Returns:
        (size, size, 3) float32 in [0, 1].
    """
    import comfy.sample

    empty = torch.zeros(1, autoencoder.LATENT_CHANNELS, request.size // 8, request.size // 8)
    latents = comfy.sample.sample(
        pipeline.model,
        comfy.sample.prepare_noise(empty, request.seed),
        request.steps,
        request.cfg,
        "euler",
        "simple",
        condition(request.caption),
        condition(""),
        empty,
        disable_pbar=True,
        seed=request.seed,
    )
    picture: Tensor = pipeline.vae.decode(latents)[0]
    return picture.float().cpu()

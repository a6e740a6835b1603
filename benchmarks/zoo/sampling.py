"""Samples the zoo's checkpoints with the host's own loaders and sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .autoencoder import Autoencoder
from .captions import embed
from .diffusion import Recipe
from .flux import FLUX
from .host import prepare_host
from .loading import load_narrow
from .pixart import PIXART
from .sd3 import SD3

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (FLUX, SD3, PIXART)}
MODELS: tuple[str, ...] = tuple(RECIPES)


@dataclass(frozen=True)
class Pipeline:
    """The host's own wrappers around the two checkpoints of a family."""

    model: Any
    vae: Any
    channels: int
    """Channels of the latents."""
    size: int
    """Side in pixels that the model was trained for."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One picture, on the simple schedule."""

    caption: str
    seed: int
    steps: int = 20
    cfg: float = 4.0
    sampler: str = "euler"
    size: int | None = None
    """Side in pixels; the model's own if None."""


def load_pipeline(name: str) -> Pipeline:
    """Load both checkpoints of a model: as UNETLoader or ZooDiffusionLoader, and as VAELoader do.

    Args:
        name: One of `MODELS`.

    Returns:
        What `sample_latents` and `decode` take.

    Raises:
        ValueError: If there is no such model.
    """
    if name not in RECIPES:
        raise ValueError(f'zoo: no model is called "{name}"; expected one of {list(MODELS)}')
    prepare_host()
    import comfy.sd

    recipe = RECIPES[name]
    load = comfy.sd.load_diffusion_model if name == "flux" else load_narrow
    kind = recipe.autoencoder
    return Pipeline(load(str(recipe.checkpoint)), load_vae(kind), kind.channels, recipe.size)


def load_vae(kind: Autoencoder) -> Any:
    """Load the autoencoder as VAELoader does, speaking the latent format of `kind`."""
    prepare_host()
    import comfy.sd
    import comfy.utils

    weights, metadata = comfy.utils.load_torch_file(str(kind.checkpoint), return_metadata=True)
    weights["vae_scale"], weights["vae_shift"] = torch.tensor(kind.scale), torch.tensor(kind.shift)
    return comfy.sd.VAE(sd=weights, metadata=metadata)


def condition(captions: Sequence[str]) -> list[list[Any]]:
    """The host's conditioning for a batch of captions, one picture each."""
    embeddings = [embed(caption) for caption in captions]
    context = torch.cat([embedding.context for embedding in embeddings])  # (B, 40, 256)
    pooled = torch.cat([embedding.pooled for embedding in embeddings])  # (B, 256)
    return [[context, {"pooled_output": pooled}]]


@torch.inference_mode()
def sample_latents(pipeline: Pipeline, requests: Sequence[Request]) -> Tensor:
    """Draw several pictures in one call of the host's sampler.

    Each picture starts from the noise of its own seed, so that it does not depend on its company. Samplers that add
    noise on the way draw it for the batch as a whole.

    Args:
        pipeline: From `load_pipeline`.
        requests: B pictures that agree in everything but caption and seed.

    Returns:
        (B, C, size / 8, size / 8) float32, in the latent format's own scale.

    Raises:
        ValueError: If there are no requests, or they differ in their settings.
    """
    import comfy.sample

    first = _require_alike(requests)
    side = (first.size or pipeline.size) // 8
    empty = torch.zeros(1, pipeline.channels, side, side)
    noise = torch.cat([comfy.sample.prepare_noise(empty, request.seed) for request in requests])
    latents: Tensor = comfy.sample.sample(
        pipeline.model,
        noise,
        first.steps,
        first.cfg,
        first.sampler,
        "simple",
        condition([request.caption for request in requests]),
        condition([""]),
        torch.zeros_like(noise),
        disable_pbar=True,
        seed=first.seed,
    )
    return latents.float().cpu()


@torch.inference_mode()
def decode(pipeline: Pipeline, latents: Tensor) -> Tensor:
    """Decode latents with the host's VAE; (B, C, h, w) to (B, 8 h, 8 w, 3) float32 in [0, 1]."""
    pictures: Tensor = pipeline.vae.decode(latents)
    return pictures.float().cpu().clamp(0.0, 1.0)


def sample(pipeline: Pipeline, request: Request) -> Tensor:
    """Draw one picture; (size, size, 3) float32 in [0, 1]."""
    return decode(pipeline, sample_latents(pipeline, [request]))[0]


def _require_alike(requests: Sequence[Request]) -> Request:
    settings = {(one.steps, one.cfg, one.sampler, one.size) for one in requests}
    if len(settings) != 1:
        raise ValueError(
            f"zoo: one batch needs the same steps, cfg, sampler and size throughout; got {sorted(map(str, settings))}; "
            "sample unlike requests one batch after the other"
        )
    return requests[0]

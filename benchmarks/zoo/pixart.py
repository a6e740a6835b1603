"""A small real PixArt-Sigma: the host's own PixArtMS at width 160, trained to predict the noise.

x_t = (x_0 + sigma_t noise) / sqrt(1 + sigma_t^2) on the host's own schedule, each time weighted by its
signal-to-noise ratio SNR = 1 / sigma_t^2.

B batch, C latent channels, h latent side, N = (h / 2)^2 picture tokens, D width.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from .architectures import PixArtArchitecture, to_metadata
from .autoencoder import CHECKPOINTS, VAE_4CH
from .captions import NUM_TOKENS, WIDTH, embed
from .diffusion import Batch, Recipe, Stage, attend
from .host import prepare_host
from .training import initialise

ARCHITECTURE = PixArtArchitecture(
    width=160, num_heads=5, num_blocks=10, context_width=WIDTH, num_tokens=NUM_TOKENS
)
_SIZE = 272
"""The smallest that the host computes positions for."""
_PATCHES = _SIZE // 16
_POSITION_STEP = 32 / _PATCHES
"""Distance of neighbouring patches at the sampling size, as the host lays them out."""
_MAX_SNR, _MAX_WEIGHT = 5.0, 10.0


def build_pixart() -> nn.Module:
    """The host's PixArtMS in float32, initialised as published; without captions and prediction at first."""
    prepare_host()
    import comfy.ops
    from comfy.ldm.pixart.pixartms import PixArtMS

    model: Any = PixArtMS(
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, **ARCHITECTURE.unet_config()
    )
    initialise(model)
    nn.init.normal_(model.t_block[1].weight, std=0.02)
    for layer in (model.final_layer.linear, *(block.cross_attn.proj for block in model.blocks)):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    # Where the published files keep a learned stand-in for the dropped caption.
    model.y_embedder.register_buffer("y_embedding", embed("").context[0])
    built: nn.Module = model
    return built


def pixart_loss(model: Any, batch: Batch) -> Tensor:
    """Squared error of the predicted noise, weighted by min(SNR, 5)^1/2 / SNR, at most 10.

    Min-SNR (Hang et al. 2023, arXiv:2303.09556, equation 7, for noise prediction) without the square root leaves
    so little weight to noisy times, where objects find their places, that a short training hardly learns them.

    Args:
        model: The prepared model.
        batch: The training pairs.

    Returns:
        () float32.
    """
    sigmas = _schedule()
    time = torch.randint(len(sigmas), (batch.clean.shape[0],), generator=batch.dice)
    sigma = sigmas[time]  # (B,)
    noise = torch.randn(batch.clean.shape, generator=batch.dice)
    spread = sigma[:, None, None, None]
    noisy = (batch.clean + spread * noise) / (1.0 + spread.square()).sqrt()
    with torch.autocast("cpu", torch.bfloat16):
        predicted = predict_noise(model, noisy, time.float(), batch.context)
    snr = sigma.square().reciprocal()
    weight = (snr.clamp(max=_MAX_SNR).sqrt() / snr).clamp(max=_MAX_WEIGHT)
    error = (predicted.float() - noise).square().mean(dim=(1, 2, 3))  # (B,)
    return (weight * error).mean()


def predict_noise(model: Any, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
    """The host's forward pass at any size: its positions are those of the sampling size, stretched.

    Args:
        model: The host's PixArtMS.
        noisy: (B, C, h, h).
        time: (B,) indices of the schedule.
        context: (B, T, W).

    Returns:
        (B, C, h, h).
    """
    side = noisy.shape[-1] // 2
    stream = model.x_embedder(noisy) + stretched_positions(side, model.hidden_size)  # (B, N, D)
    t = model.t_embedder(time, noisy.dtype)  # (B, D)
    modulation = model.t_block(t)  # (B, 6 D)
    captions = model.y_embedder.y_proj(context)  # (B, T, D)
    for block in model.blocks:
        stream = block(stream, captions, modulation, HW=(2 * side, 2 * side))
    both: Tensor = model.unpatchify(model.final_layer(stream, t), 2 * side, 2 * side)  # (B, 2 C, h, h)
    return both[:, : noisy.shape[1]]


@cache
def stretched_positions(side: int, width: int) -> Tensor:
    """Embedded positions (1, side * side, width): the sampling size's grid, with as many patches as asked."""
    from comfy.ldm.modules.diffusionmodules.mmdit import get_1d_sincos_pos_embed_from_grid_torch

    centres = ((torch.arange(side) + 0.5) * _PATCHES / side - 0.5) * _POSITION_STEP
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    halves = [get_1d_sincos_pos_embed_from_grid_torch(width // 2, axis) for axis in (columns, rows)]
    return torch.cat(halves, dim=1).unsqueeze(0)


@cache
def _schedule() -> Tensor:
    """Sigma at every time of the host's schedule, (1000,)."""
    from comfy.model_sampling import ModelSamplingDiscrete
    from comfy.supported_models import PixArtSigma

    sigmas: Tensor = ModelSamplingDiscrete(PixArtSigma).sigmas
    return sigmas


def prepare_for_training(model: Any) -> None:
    """Spell the attention out, for which this family of the host has no option."""
    for block in model.blocks:
        block.attn.forward = partial(_self_attention, block.attn)
        block.cross_attn.forward = partial(_cross_attention, block.cross_attn)


def _self_attention(module: Any, stream: Tensor, **_: Any) -> Tensor:
    q, k, v = _split(module.qkv(stream), 3, module.num_heads)
    attended: Tensor = module.proj(attend(q, k, v))
    return attended


def _cross_attention(module: Any, stream: Tensor, captions: Tensor, _: None = None) -> Tensor:
    [q] = _split(module.q_linear(stream), 1, module.num_heads)
    k, v = _split(module.kv_linear(captions), 2, module.num_heads)
    attended: Tensor = module.proj(attend(q, k, v))
    return attended


def _split(joined: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(B, N, parts * D) to `parts` of (B, heads, N, D / heads)."""
    return joined.reshape(*joined.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


PIXART = Recipe(
    name="pixart",
    autoencoder=VAE_4CH,
    checkpoint=CHECKPOINTS / "zoo_pixart.safetensors",
    size=_SIZE,
    stages=(
        Stage(size=160, num_pictures=6144, share=8, until=0.75),
        Stage(size=_SIZE, num_pictures=2048, share=4, until=1.0),
    ),
    build=build_pixart,
    prepare=prepare_for_training,
    loss=pixart_loss,
    publish=str,
    metadata=to_metadata(ARCHITECTURE),
)

"""A small real SD3: the host's own MMDiT at width 128, trained as a rectified flow.

As in SD3.5-medium, queries and keys are normalised and the first blocks attend to the picture a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .architectures import SD3Architecture, to_metadata
from .autoencoder import CHECKPOINTS, VAE_16CH_SD3
from .captions import POOLED_WIDTH, WIDTH
from .diffusion import Batch, Recipe, Stage, attend, flow_loss, make_differentiable
from .host import prepare_host
from .training import initialise

ARCHITECTURE = SD3Architecture(
    num_heads=2, num_blocks=9, num_dual_blocks=4, context_width=WIDTH, pooled_width=POOLED_WIDTH
)
_SIZE = 192
_TIME_MEAN = 0.5
"""The host samples with times shifted by 3, half of them above 0.75: between that and an even spread."""
_TIMESTEPS = 1000.0


def build_sd3() -> nn.Module:
    """The host's MMDiT in float32, initialised so that every block starts as the identity."""
    prepare_host()
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper

    model: nn.Module = OpenAISignatureMMDITWrapper(
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, **ARCHITECTURE.unet_config()
    )
    initialise(model)
    for name, parameter in model.named_parameters():
        if ".ln_" in name:
            nn.init.ones_(parameter)
        elif "adaLN_modulation" in name or name.startswith("final_layer."):
            nn.init.zeros_(parameter)
    return model


def sd3_loss(model: Any, batch: Batch) -> Tensor:
    """Rectified-flow loss (); see `diffusion.flow_loss`."""

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        velocity: Tensor = model(
            noisy, time * _TIMESTEPS, batch.context, batch.pooled, transformer_options=TRAINING_OPTIONS
        )
        return velocity

    return flow_loss(predict, batch, _TIME_MEAN)


def _attend(_: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, **__: Any) -> Tensor:
    """Attention of (B, T, heads * D) each, or values as (B, T, heads, D), to (B, T, heads * D)."""
    q, k, v = (value.reshape(*value.shape[:2], heads, -1).transpose(1, 2) for value in (q, k, v))
    return attend(q, k, v)


TRAINING_OPTIONS: dict[str, Any] = {"optimized_attention_override": _attend}
"""The host's options for a training call."""

SD3 = Recipe(
    name="sd3",
    autoencoder=VAE_16CH_SD3,
    checkpoint=CHECKPOINTS / "zoo_sd3.safetensors",
    size=_SIZE,
    stages=(
        Stage(size=128, num_pictures=8192, share=8, until=0.75),
        Stage(size=_SIZE, num_pictures=2560, share=6, until=1.0),
    ),
    build=build_sd3,
    prepare=make_differentiable,
    loss=sd3_loss,
    publish=str,
    metadata=to_metadata(ARCHITECTURE),
)

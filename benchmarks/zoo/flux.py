"""A small real Flux: the host's own class at width 128, trained as a rectified flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .autoencoder import CHECKPOINTS, VAE_16CH
from .captions import POOLED_WIDTH, WIDTH
from .diffusion import Batch, Recipe, Stage, attend, flow_loss, make_differentiable
from .host import prepare_host
from .training import initialise

ARCHITECTURE: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": POOLED_WIDTH,
    "context_in_dim": WIDTH,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 4,
    "depth_single_blocks": 8,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": False,
    "txt_ids_dims": [],
}
_SIZE = 192


class _SharedPositions(nn.Module):
    """Computes rotary embeddings once per token count: all rows of a training batch share them."""

    def __init__(self, embedder: nn.Module) -> None:
        super().__init__()
        self.embedder = embedder
        self.known: dict[int, Tensor] = {}

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T, 3) positions to (1, 1, T, 64, 2, 2) rotations."""
        if ids.shape[1] not in self.known:
            self.known[ids.shape[1]] = self.embedder(ids[:1])
        return self.known[ids.shape[1]]


def build_flux() -> nn.Module:
    """The host's Flux class in float32, initialised so that every block starts as the identity."""
    prepare_host()
    import comfy.ops
    from comfy.ldm.flux.model import Flux

    model: nn.Module = Flux(operations=comfy.ops.disable_weight_init, dtype=torch.float32, **ARCHITECTURE)
    initialise(model)
    for name, parameter in model.named_parameters():
        if name.endswith("_norm.weight"):
            nn.init.ones_(parameter)
        elif ".lin." in name or "_mod.lin" in name or name.startswith("final_layer."):
            nn.init.zeros_(parameter)
    return model


def flux_loss(model: Any, batch: Batch) -> Tensor:
    """Rectified-flow loss (); see `diffusion.flow_loss`."""
    options = training_options(batch.size)

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        velocity: Tensor = model(noisy, time, batch.context, batch.pooled, transformer_options=options)
        return velocity

    return flow_loss(predict, batch, mean=0.0)


def prepare_for_training(model: nn.Module) -> None:
    """Make the model differentiable; rows of a batch share their rotary embeddings."""
    make_differentiable(model)
    model.pe_embedder = _SharedPositions(model.pe_embedder)  # type: ignore[arg-type]


def training_options(size: int) -> dict[str, Any]:
    """The host's options for a training call at `size` pixels."""
    # Small pictures are laid over the positions of the sampling size, so that "right" stays where it is.
    stretch = (_SIZE / 16 - 1) / (size / 16 - 1)
    return {
        "optimized_attention_override": _attend,
        "rope_options": {"scale_x": stretch, "scale_y": stretch},
    }


def _attend(_: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, **__: Any) -> Tensor:
    return attend(q, k, v)


def _publish(name: str) -> str:
    """The published name of a parameter: norms are called `.scale`."""
    return f"{name.removesuffix('.weight')}.scale" if name.endswith("_norm.weight") else name


FLUX = Recipe(
    name="flux",
    autoencoder=VAE_16CH,
    checkpoint=CHECKPOINTS / "zoo_flux.safetensors",
    size=_SIZE,
    stages=(
        Stage(size=128, num_pictures=8192, share=8, until=0.75),
        Stage(size=_SIZE, num_pictures=2560, share=6, until=1.0),
    ),
    build=build_flux,
    prepare=prepare_for_training,
    loss=flux_loss,
    publish=_publish,
    metadata={},
)

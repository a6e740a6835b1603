"""A small real Flux: the host's own class at width 128, trained as a rectified flow.

x_t = (1 - t) x_0 + t noise, target noise - x_0. One caption in ten is dropped for classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .captions import POOLED_WIDTH, WIDTH, embed
from .host import prepare_host
from .latents import load_latents
from .training import Average, Workers, initialise, warmup_cosine, write_checkpoint

CHECKPOINT = Path(__file__).parent / "checkpoints" / "zoo_flux.safetensors"
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
SAMPLING_SIZE = 192
_LEARNING_RATE = 1.5e-3
_DROPOUT = 0.1
_FIRST_STAGE_SHARE = 0.85


@dataclass(frozen=True)
class _Stage:
    """Part of the training at one resolution; `share` is one worker's pictures per step."""

    size: int
    num_pictures: int
    share: int


_STAGES = (
    _Stage(size=128, num_pictures=8192, share=8),
    _Stage(size=SAMPLING_SIZE, num_pictures=2560, share=6),
)


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


def save_flux(tensors: dict[str, Tensor], path: Path) -> None:
    """Write the half-precision checkpoint, norms under the published names (`.scale`)."""
    named = {
        f"{name.removesuffix('.weight')}.scale" if name.endswith("_norm.weight") else name: value
        for name, value in tensors.items()
    }
    write_checkpoint(named, path)


class FluxTask:
    """Trains the model in two stages of rising resolution, with an exponential moving average."""

    name = "flux"

    def __init__(self, seed: int, num_workers: int, work: Path) -> None:
        """Fresh model, optimiser and latents; `work` caches the latents."""
        torch.manual_seed(seed)
        self.seed = seed
        self.model = build_flux().train()
        _prepare_for_training(self.model)
        self.workers = Workers(self.model, num_workers)
        self.optimizer = torch.optim.AdamW(
            self.workers.parameters, lr=_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.average = Average(self.model, decay=0.998)
        self.sets = [load_latents(work, seed, stage.size, stage.num_pictures) for stage in _STAGES]
        empty = embed("")
        self.empty_context, self.empty_pooled = empty.context.half(), empty.pooled.half()

    def advance(self, step: int, progress: float) -> tuple[float, int]:
        """One optimiser step; see `training.Task`."""
        for group in self.optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * warmup_cosine(step, progress, warmup_steps=200)
        stage = int(progress >= _FIRST_STAGE_SHARE)
        shares = [
            partial(self._loss, stage, step * self.workers.count + index)
            for index in range(self.workers.count)
        ]
        loss = self.workers.differentiate(shares)
        nn.utils.clip_grad_norm_(self.workers.parameters, 1.0)
        self.optimizer.step()
        self.average.update(self.model, step)
        return loss, self.workers.count * _STAGES[stage].share

    def _loss(self, stage: int, number: int) -> Tensor:
        data, batch = self.sets[stage], _STAGES[stage].share
        dice = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        rows = torch.randint(data.latents.shape[0], (batch,), generator=dice)
        clean = data.latents[rows].float()  # (B, 16, H/8, W/8)
        keep = torch.rand(batch, generator=dice) >= _DROPOUT
        context = torch.where(keep[:, None, None], data.context[rows], self.empty_context).float()
        pooled = torch.where(keep[:, None], data.pooled[rows], self.empty_pooled).float()
        noise = torch.randn(clean.shape, generator=dice)
        time = draw_times(batch, dice)
        noisy = torch.lerp(clean, noise, time[:, None, None, None])
        with torch.autocast("cpu", torch.bfloat16):
            velocity = self.model(noisy, time, context, pooled, transformer_options=_training_options(stage))
        loss: Tensor = (velocity.float() - (noise - clean)).square().mean()
        return loss

    def state(self) -> dict[str, Any]:
        """Model, average and optimiser; see `training.Task`."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.tensors,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a stored state; see `training.Task`."""
        self.model.load_state_dict(state["model"])
        self.average.load(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export(self, path: Path) -> None:
        """Write the averaged weights as the checkpoint."""
        save_flux(self.average.tensors, path)


def draw_times(batch: int, dice: torch.Generator) -> Tensor:
    """Training times (B,) in (0, 1): logit-normal, one in five uniform so that both ends are learned too."""
    normal = torch.sigmoid(torch.randn(batch, generator=dice))
    uniform = torch.rand(batch, generator=dice)
    return torch.where(torch.rand(batch, generator=dice) < 0.2, uniform, normal)


def _prepare_for_training(model: nn.Module) -> None:
    import comfy.model_management

    # The host's fused rotary kernel has no gradient; in training it takes a differentiable one.
    comfy.model_management.in_training = True
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(_copy_input)
    model.pe_embedder = _SharedPositions(model.pe_embedder)  # type: ignore[arg-type]


def _copy_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # The host's blocks add to their stream in place, which would destroy what the norm keeps for its
    # gradient.
    return tuple(value.clone() for value in inputs)


def _training_options(stage: int) -> dict[str, Any]:
    # Small pictures are laid over the positions of the sampling size, so that "right" stays where it is.
    stretch = (SAMPLING_SIZE / 16 - 1) / (_STAGES[stage].size / 16 - 1)
    return {
        "optimized_attention_override": _attend,
        "rope_options": {"scale_x": stretch, "scale_y": stretch},
    }


def _attend(_: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, **__: Any) -> Tensor:
    """Attention of (B, heads, T, D) each, to (B, T, heads * D).

    Spelled out, because at these sizes the fused kernel's backward pass is much slower on a CPU.
    """
    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)  # (B, heads, T, T)
    return (weights.to(v.dtype) @ v).transpose(1, 2).reshape(q.shape[0], -1, heads * q.shape[-1])

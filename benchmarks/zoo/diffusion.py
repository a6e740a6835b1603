"""What the training of every diffusion model of the zoo shares; `flux`, `sd3` and `pixart` say what differs.

Two optimisers: Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) turns the update of each hidden
matrix of the blocks into an orthogonal one, which needs fewer steps here than AdamW; the rest has AdamW.

B batch, C latent channels, h latent side, T tokens, W width of the caption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .autoencoder import Autoencoder
from .captions import embed
from .latents import load_latents
from .training import Average, Workers, warmup_cosine, write_checkpoint

_MUON_RATE, _ADAM_RATE = 3e-3, 1.5e-3
_DECAY = 0.01
_WARMUP_STEPS = 200
_CAPTION_DROPOUT = 0.1
_FURTHER_HEAD_START = 0.5
"""Where in the course of the learning rate a trained model goes on."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Part of the training at one resolution, until `until` of the time budget is spent."""

    size: int
    """Side of the pictures in pixels."""
    num_pictures: int
    share: int
    """One worker's pictures per step."""
    until: float


@dataclass(frozen=True)
class Batch:
    """One worker's training pairs; `dice` draws the noise and the times."""

    clean: Tensor
    """(B, C, h, h) float32, about unit variance."""
    context: Tensor
    """(B, T, W) float32."""
    pooled: Tensor
    """(B, W) float32."""
    dice: torch.Generator
    size: int
    """Side of the pictures in pixels."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model family of the zoo: what is built, how it learns, where it is kept."""

    name: str
    autoencoder: Autoencoder
    checkpoint: Path
    size: int
    """Side in pixels that it is sampled at."""
    stages: tuple[Stage, ...]
    build: Callable[[], nn.Module]
    """Gives the host's class in float32, freshly initialised."""
    prepare: Callable[[nn.Module], None]
    """Makes it differentiable and quick in training."""
    loss: Callable[[Any, Batch], Tensor]
    """Gives the () loss of the model on a batch."""
    publish: Callable[[str], str]
    """Gives the name in the file for a parameter's name."""
    metadata: dict[str, str]
    """What the file says of itself."""


def last_stage_only(recipe: Recipe) -> Recipe:
    """The recipe without the stages below the sampling size, for a model that is trained already."""
    return replace(recipe, stages=(replace(recipe.stages[-1], until=1.0),))


class DiffusionTask:
    """Trains a model in stages of rising resolution, with an exponential moving average of its weights."""

    def __init__(self, recipe: Recipe, seed: int, num_workers: int, work: Path) -> None:
        """Fresh model, optimisers and latents; `work` caches the latents."""
        torch.manual_seed(seed)
        self.recipe, self.name, self.seed = recipe, recipe.name, seed
        self.model = recipe.build()
        self.buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        recipe.prepare(self.model)
        self.workers = Workers(self.model, num_workers)
        self.optimizers = build_optimizers(self.model, num_workers)
        self.average = Average(self.model, decay=0.998)
        self.head_start = 0.0
        self.sets = [
            load_latents(work, seed, stage.size, stage.num_pictures, recipe.autoencoder)
            for stage in recipe.stages
        ]
        empty = embed("")
        self.empty_context, self.empty_pooled = empty.context.half(), empty.pooled.half()

    def start_from(self, path: Path) -> None:
        """Take the weights of a checkpoint as the first ones, to train it further at half the learning rate."""
        self.head_start = _FURTHER_HEAD_START
        stored = load_file(path)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(stored[self.recipe.publish(name)])
        self.average = Average(self.model, decay=self.average.decay)

    def advance(self, step: int, progress: float) -> tuple[float, int]:
        """One optimiser step; see `training.Task`."""
        stages = self.recipe.stages
        stage = next(index for index, stage in enumerate(stages) if progress < stage.until)
        shares = [
            partial(self._loss, stage, step * self.workers.count + index)
            for index in range(self.workers.count)
        ]
        loss = self.workers.differentiate(shares)
        nn.utils.clip_grad_norm_(self.workers.parameters, 1.0)
        course = self.head_start + (1.0 - self.head_start) * progress
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * warmup_cosine(step, course, _WARMUP_STEPS)
        self.workers.step(self.optimizers)
        self.average.update(self.model, step)
        return loss, self.workers.count * stages[stage].share

    def _loss(self, stage: int, number: int) -> Tensor:
        return self.recipe.loss(self.model, self._draw(stage, number))

    def _draw(self, stage: int, number: int) -> Batch:
        data, size, count = self.sets[stage], self.recipe.stages[stage].size, self.recipe.stages[stage].share
        dice = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        rows = torch.randint(data.latents.shape[0], (count,), generator=dice)
        keep = torch.rand(count, generator=dice) >= _CAPTION_DROPOUT
        context = torch.where(keep[:, None, None], data.context[rows], self.empty_context)
        pooled = torch.where(keep[:, None], data.pooled[rows], self.empty_pooled)
        return Batch(data.latents[rows].float(), context.float(), pooled.float(), dice, size)

    def state(self) -> dict[str, Any]:
        """Model, average and optimisers; see `training.Task`."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.tensors,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a stored state; see `training.Task`."""
        self.model.load_state_dict(state["model"])
        self.average.load(state["average"])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)

    def export(self, path: Path) -> None:
        """Write the averaged weights as the checkpoint."""
        tensors = {**self.buffers, **self.average.tensors}
        named = {self.recipe.publish(name): value for name, value in tensors.items()}
        write_checkpoint(named, path, self.recipe.metadata)


def build_optimizers(model: nn.Module, num_workers: int) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices of the blocks, a share for each worker, and AdamW for everything else."""
    named = list(model.named_parameters())
    matrices = [parameter for name, parameter in named if _is_hidden_matrix(name, parameter)]
    others = [parameter for name, parameter in named if not _is_hidden_matrix(name, parameter)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices[worker::num_workers],
            lr=_MUON_RATE,
            weight_decay=_DECAY,
            adjust_lr_fn="match_rms_adamw",
        )
        for worker in range(num_workers)
    ]
    optimizers.append(
        torch.optim.AdamW(others, lr=_ADAM_RATE, betas=(0.9, 0.98), weight_decay=_DECAY, fused=True)
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    is_modulation = any(part in name for part in ("_mod.", "modulation", "scale_shift_table"))
    return "blocks." in name and parameter.ndim == 2 and not is_modulation


def flow_loss(predict: Callable[[Tensor, Tensor], Tensor], batch: Batch, mean: float) -> Tensor:
    """Rectified flow: x_t = (1 - t) x_0 + t noise, target noise - x_0.

    Source: Esser et al. 2024 (arXiv:2403.03206), section 3.

    Args:
        predict: Gives the velocity for noisy latents (B, C, h, h) and times (B,).
        batch: The training pairs.
        mean: Mean of the times' logit; above 0 favours noise.

    Returns:
        () float32.
    """
    noise = torch.randn(batch.clean.shape, generator=batch.dice)
    time = draw_times(batch.clean.shape[0], batch.dice, mean)
    noisy = torch.lerp(batch.clean, noise, time[:, None, None, None])
    with torch.autocast("cpu", torch.bfloat16):
        velocity = predict(noisy, time)
    loss: Tensor = (velocity.float() - (noise - batch.clean)).square().mean()
    return loss


def draw_times(batch: int, dice: torch.Generator, mean: float = 0.0) -> Tensor:
    """Training times (B,) in (0, 1): logit-normal, one in five uniform so that both ends are learned too."""
    normal = torch.sigmoid(torch.randn(batch, generator=dice) + mean)
    uniform = torch.rand(batch, generator=dice)
    return torch.where(torch.rand(batch, generator=dice) < 0.2, uniform, normal)


def make_differentiable(model: nn.Module) -> None:
    """Prepare a model of the host for training: no fused kernels, no input overwritten that a norm keeps."""
    import comfy.model_management

    # The host's fused rotary kernel has no gradient; in training it takes a differentiable one.
    comfy.model_management.in_training = True
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(_copy_input)


def _copy_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # Some blocks of the host add to their stream in place, which would destroy what the norm keeps for its
    # gradient.
    return tuple(value.clone() for value in inputs)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (B, heads, T, D) each, to (B, T, heads * D).

    Spelled out, because at these sizes the fused kernel's backward pass is much slower on a CPU.
    """
    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)  # (B, heads, T, T)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)

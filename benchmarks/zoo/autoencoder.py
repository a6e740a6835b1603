"""Autoencoders of the TAESD architecture, trained on the generator's pictures: 16 channels and 4 channels.

The raw encoder output is kept near zero mean and unit variance per channel; with the scale and shift of the
latent format that the diffusion model's family uses, that is what the diffusion model sees.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .host import prepare_host
from .rendering import render
from .scenes import sample_scene
from .training import Workers, warmup_cosine, write_checkpoint

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """One autoencoder of the zoo: its width, its file, and the latent format that the file speaks of."""

    channels: int
    checkpoint: Path
    scale: float
    """`scale_factor` of the host's latent format."""
    shift: float
    """`shift_factor` of the host's latent format."""


VAE_16CH = Autoencoder(
    channels=16, checkpoint=CHECKPOINTS / "zoo_vae_16ch.safetensors", scale=0.3611, shift=0.1159
)
"""In Flux's latent format."""
VAE_16CH_SD3 = replace(VAE_16CH, scale=1.5305, shift=0.0609)
"""The same file in SD3's latent format; only the two numbers in it differ."""
VAE_4CH = Autoencoder(
    channels=4, checkpoint=CHECKPOINTS / "zoo_vae_4ch.safetensors", scale=0.13025, shift=0.0
)
"""In SDXL's latent format, which is PixArt-Sigma's."""
_CROP, _SHARE, _CROPS_PER_PICTURE = 64, 4, 2
_SIZES = (96, 128, 128, 192, 192, 256)
_LATENT_NOISE = 0.05


def build_autoencoder(kind: Autoencoder) -> nn.Module:
    """The host's TAESD class, freshly initialised, in float32."""
    prepare_host()
    from comfy.taesd.taesd import TAESD

    model: Any = TAESD(latent_channels=kind.channels)
    _initialise(model)
    trained: nn.Module = model.to(memory_format=torch.channels_last)
    return trained


def _initialise(model: nn.Module) -> None:
    """Variance-keeping convolutions, and residual blocks that start as the identity.

    With PyTorch's own initial weights the colours of a deep stack of ReLUs collapse before it learns them.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if name.endswith(".conv.4"):
                nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def load_autoencoder(kind: Autoencoder) -> nn.Module:
    """The trained autoencoder in float32, in evaluation mode."""
    model = build_autoencoder(kind)
    model.load_state_dict({key: value.float() for key, value in load_file(kind.checkpoint).items()})
    return model.eval().requires_grad_(False)


def save_autoencoder(kind: Autoencoder, state: dict[str, Tensor]) -> None:
    """Write the half-precision checkpoint with the host's keys and the format's scale and shift."""
    fixed = {"vae_scale": torch.tensor(kind.scale), "vae_shift": torch.tensor(kind.shift)}
    write_checkpoint({**state, **fixed}, kind.checkpoint, {})


def adopt_trunk(model: nn.Module, source: nn.Module) -> None:
    """Start `model` from another autoencoder wherever the shapes agree: everywhere but at the bottleneck."""
    own = model.state_dict()
    model.load_state_dict(
        {
            key: value if value.shape == own[key].shape else own[key]
            for key, value in source.state_dict().items()
        }
    )


class AutoencoderTask:
    """Trains encoder and decoder of the 16-channel autoencoder together, on random crops at mixed scales."""

    name = "autoencoder"
    kind = VAE_16CH
    learning_rate = 1.5e-3
    latent_weight = 0.05

    def __init__(self, seed: int, num_workers: int) -> None:
        """Fresh model and optimiser; every worker adds its share of crops to the batch."""
        torch.manual_seed(seed)
        self.seed = seed
        self.model: Any = build_autoencoder(self.kind).train()
        for fixed in (self.model.vae_scale, self.model.vae_shift):
            fixed.requires_grad_(False)
        self._start(num_workers)

    def _start(self, num_workers: int) -> None:
        self.workers = Workers(self.model, num_workers)
        self.optimizer = torch.optim.Adam(
            self.workers.parameters, lr=self.learning_rate, betas=(0.9, 0.99), fused=True
        )

    def advance(self, step: int, progress: float) -> tuple[float, int]:
        """One optimiser step on a fresh batch; see `training.Task`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * warmup_cosine(step, progress, warmup_steps=100)
        shares = [partial(self._loss, step, index) for index in range(self.workers.count)]
        loss = self.workers.differentiate(shares)
        nn.utils.clip_grad_norm_(self.workers.parameters, 1.0)
        self.optimizer.step()
        return loss, self.workers.count * _SHARE

    def _loss(self, step: int, share: int) -> Tensor:
        number = step * self.workers.count + share
        pictures = crop_batch(self.seed, number)
        noise = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        with torch.autocast("cpu", torch.bfloat16):
            latents = self.model.taesd_encoder(pictures).float()  # (B, C, H/8, W/8)
            noisy = latents + _LATENT_NOISE * torch.randn(latents.shape, generator=noise)
            decoded = self.model.taesd_decoder(noisy).float()  # (B, 3, H, W)
        return reconstruction_loss(decoded, pictures) + self.latent_weight * latent_penalty(latents)

    def state(self) -> dict[str, Any]:
        """Model and optimiser; see `training.Task`."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a stored state; see `training.Task`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export(self) -> None:
        """Write the checkpoint."""
        save_autoencoder(self.kind, self.model.state_dict())


class NarrowAutoencoderTask(AutoencoderTask):
    """Trains the 4-channel autoencoder, starting from all but the bottleneck of the 16-channel one."""

    name = "autoencoder_4ch"
    kind = VAE_4CH
    learning_rate = 1e-3
    latent_weight = 0.2

    def __init__(self, seed: int, num_workers: int) -> None:
        """The shipped 16-channel weights around a fresh bottleneck."""
        super().__init__(seed, num_workers)
        adopt_trunk(self.model, load_autoencoder(VAE_16CH))


class DecoderTask(AutoencoderTask):
    """Trains the decoder of the shipped autoencoder further; its latents, and so a trained Flux, stay valid."""

    name = "decoder"
    learning_rate = 7e-4

    def __init__(self, seed: int, num_workers: int) -> None:
        """The shipped weights, with the encoder frozen."""
        super().__init__(seed, num_workers)
        self.model.load_state_dict(load_autoencoder(self.kind).state_dict())
        self.model.taesd_encoder.requires_grad_(False)
        self._start(num_workers)


def reconstruction_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """Absolute and squared error, with extra weight on fine edges and on broad colours.

    Neighbour differences keep letters sharp; the chroma of 8 by 8 means makes hues, which plain errors
    learn last, appear early.

    Args:
        decoded: (B, 3, H, W), about [0, 1].
        pictures: (B, 3, H, W) in [0, 1].

    Returns:
        () float32.
    """
    error = decoded - pictures
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    broad = nn.functional.avg_pool2d(error, 8)  # (B, 3, H/8, W/8)
    chroma = (broad - broad.mean(dim=1, keepdim=True)).abs().mean()
    return error.abs().mean() + 4.0 * error.square().mean() + 0.4 * edges + 2.0 * chroma


def latent_penalty(latents: Tensor) -> Tensor:
    """Distance of the batch's per-channel mean from 0 and standard deviation from 1; (B, C, H, W) to ()."""
    mean = latents.mean(dim=(0, 2, 3))
    deviation = latents.std(dim=(0, 2, 3))
    return (mean.square() + (deviation - 1.0).square()).mean()


def crop_batch(seed: int, number: int) -> Tensor:
    """One worker's share of a batch: crops from freshly rendered scenes.

    Args:
        seed: Seed of scenes and crops.
        number: Which share, counted over the whole training.

    Returns:
        (4, 3, 64, 64) float32 in [0, 1], channels last.
    """
    dice = random.Random(f"zoo-crops/{seed}/{number}")
    crops = []
    for picture in range(_SHARE // _CROPS_PER_PICTURE):
        size = _SIZES[int(dice.random() * len(_SIZES))]
        pixels = render(sample_scene(seed, number * (_SHARE // _CROPS_PER_PICTURE) + picture), size)
        for _ in range(_CROPS_PER_PICTURE):
            top, left = (int(dice.random() * (size - _CROP + 1)) for _ in range(2))
            crops.append(pixels[top : top + _CROP, left : left + _CROP])
    return to_tensor(np.stack(crops)).contiguous(memory_format=torch.channels_last)


def to_tensor(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0

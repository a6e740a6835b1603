"""Trains the classifier on the generator's scenes, half of each batch as the autoencoder gives them back.

Pictures are drawn once, cached outside the repository, and each seen several times, slightly moved, blurred
and with noise, because what it will read is drawn by models and decoded.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from zoo.autoencoder import VAE_16CH, load_autoencoder
from zoo.rendering import render
from zoo.scenes import sample_scene
from zoo.training import Average, Workers, warmup_cosine, write_checkpoint

from .classifier import KIND, SIZE, Classifier, pooled
from .labels import HEADS, NOTHING, UNNAMED, Head, Labels, label_scenes
from .pictures import resize

NUM_PICTURES = 16384
_DECODED_PART = 4
"""One picture in four goes through the autoencoder, which costs ten times the drawing; batches take half."""
_DECODED_SIZES = (128, 128, 128, 192)
_SHARE, _CHUNK = 16, 16
_LEARNING_RATE, _MARGIN = 2e-3, 4
_NUM_SUMMARISED = 4096
_EMPTY_WEIGHT = 0.25
Pixels = NDArray[np.uint8]


class ClassifierTask:
    """Trains all heads together, with an exponential moving average of the weights; see `zoo.training.Task`."""

    name = "classifier"

    def __init__(self, seed: int, num_workers: int, work: Path, num_pictures: int = NUM_PICTURES) -> None:
        """Fresh model and optimiser; `work` caches the pictures."""
        torch.manual_seed(seed)
        self.seed = seed
        self.model = Classifier().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.workers = Workers(self.model, num_workers)
        self.optimizer = torch.optim.AdamW(
            self.workers.parameters, lr=_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.02, fused=True
        )
        self.average = Average(self.model, decay=0.998)
        self.pixels = load_pictures(work, seed, num_pictures)
        self.labels = label_scenes([sample_scene(seed, index) for index in range(num_pictures)])

    def advance(self, step: int, progress: float) -> tuple[float, int]:
        """One optimiser step; see `zoo.training.Task`."""
        for group in self.optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * warmup_cosine(step, progress, warmup_steps=100)
        count = self.workers.count
        loss = self.workers.differentiate(
            [partial(self._loss, step * count + index) for index in range(count)]
        )
        nn.utils.clip_grad_norm_(self.workers.parameters, 5.0)
        self.optimizer.step()
        self.average.update(self.model, step)
        return loss, count * _SHARE

    def _loss(self, number: int) -> Tensor:
        dice = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        rows = draw_rows(len(self.pixels), dice)
        pictures = disturb(to_pictures(self.pixels[rows.numpy()]), dice)
        with torch.autocast("cpu", torch.bfloat16):
            scores = self.model(pictures.contiguous(memory_format=torch.channels_last))
        return reading_loss(scores, {name: value[rows] for name, value in self.labels.items()})

    def state(self) -> dict[str, Any]:
        """Model, average and optimiser; see `zoo.training.Task`."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.tensors,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a stored state; see `zoo.training.Task`."""
        self.model.load_state_dict(state["model"])
        self.average.load(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def export(self, path: Path) -> None:
        """Write the averaged weights, and the summary's projection fitted to the training pictures."""
        model = Classifier().eval()
        model.load_state_dict(self.average.tensors, strict=False)
        vectors = [
            pooled(model.stages(to_pictures(self.pixels[start : start + 64]))[-1])
            for start in range(0, min(_NUM_SUMMARISED, len(self.pixels)), 64)
        ]
        model.fit_projection(torch.cat(vectors))
        write_checkpoint(model.state_dict(), path, {"kind": KIND})


def draw_rows(count: int, dice: torch.Generator) -> Tensor:
    """A share's pictures out of `count`: (16,) indices, half of them of decoded pictures, which come first."""
    num_decoded = count // _DECODED_PART
    decoded = torch.randint(num_decoded, (_SHARE // 2,), generator=dice)
    drawn = torch.randint(num_decoded, count, (_SHARE // 2,), generator=dice)
    return torch.cat([decoded, drawn])


def reading_loss(scores: dict[str, Tensor], labels: Labels) -> Tensor:
    """Cross entropy summed over the heads, each averaged over what the captions say.

    Args:
        scores: Per head (B, S, answers).
        labels: Per head (B, S).

    Returns:
        () float32. Empty sites weigh a quarter in the heads that can answer `NOTHING`: most sites are empty.
    """
    return torch.stack([_head_loss(head, scores[head.name], labels[head.name]) for head in HEADS]).sum()


def _head_loss(head: Head, scores: Tensor, labels: Tensor) -> Tensor:
    weight = torch.tensor([_EMPTY_WEIGHT if word == NOTHING else 1.0 for word in head.words])
    flat = labels.flatten()
    total = nn.functional.cross_entropy(
        scores.float().flatten(0, 1), flat, weight=weight, ignore_index=UNNAMED, reduction="sum"
    )
    mean: Tensor = total / weight[flat[flat != UNNAMED]].sum().clamp(min=1.0)
    return mean


def disturb(pictures: Tensor, dice: torch.Generator) -> Tensor:
    """Light changes that leave every label true: a move of up to 4 pixels, contrast, blur and noise.

    Args:
        pictures: (B, 3, 128, 128) in [0, 1].
        dice: Where the changes are drawn from.

    Returns:
        The same shape.
    """
    batch, side = pictures.shape[0], pictures.shape[-1]
    top, left = torch.randint(2 * _MARGIN + 1, (2,), generator=dice).tolist()
    padded = nn.functional.pad(pictures, (_MARGIN,) * 4, mode="replicate")
    moved = padded[..., top : top + side, left : left + side]
    soft = nn.functional.avg_pool2d(moved, 3, stride=1, padding=1, count_include_pad=False)
    blur, contrast, light, noise = torch.rand(4, batch, 1, 1, 1, generator=dice)
    mixed = torch.lerp(moved, soft, blur.square())
    toned = (mixed - 0.5) * (0.9 + 0.2 * contrast) + 0.5 + 0.06 * (light - 0.5)
    noisy: Tensor = toned + 0.06 * noise.square() * torch.randn(pictures.shape, generator=dice)
    return noisy


def to_pictures(pixels: Pixels) -> Tensor:
    """(B, 3, H, W) uint8 to float32 in [0, 1]."""
    return torch.from_numpy(pixels).float() / 255.0


def load_pictures(work: Path, seed: int, count: int) -> Pixels:
    """The first `count` training scenes of a seed, the first quarter through the autoencoder.

    Args:
        work: Folder of the cache, which is keyed by the autoencoder's file.
        seed: Seed of the scenes.
        count: Number of scenes.

    Returns:
        (count, 3, 128, 128) uint8.
    """
    key = hashlib.sha256(VAE_16CH.checkpoint.read_bytes()).hexdigest()[:12]
    path = work / f"pictures_{SIZE}_{seed}_{count}_{key}.npy"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        np.save(path, _draw_all(seed, count))
    pixels: Pixels = np.load(path)
    return pixels


def _draw_all(seed: int, count: int) -> Pixels:
    autoencoder = load_autoencoder(VAE_16CH).to(torch.bfloat16)
    chunks = []
    with ThreadPoolExecutor(2) as pool:
        for chunk in pool.map(partial(_draw_chunk, autoencoder, seed, count), range(0, count, _CHUNK)):
            chunks.append(chunk)
            if len(chunks) % 64 == 0:
                sys.stdout.write(f"pictures: {len(chunks) * _CHUNK} of {count}\n")
                sys.stdout.flush()
    return np.concatenate(chunks)


@torch.no_grad()
def _draw_chunk(autoencoder: Any, seed: int, count: int, start: int) -> Pixels:
    torch.set_num_threads(1)
    indices = range(start, min(start + _CHUNK, count))
    if start >= count // _DECODED_PART:
        return _to_pixels(_render_all(seed, indices, SIZE))
    dice = random.Random(f"zoo-classifier/{seed}/{start}").random()
    size = _DECODED_SIZES[int(dice * len(_DECODED_SIZES))]
    drawn = _render_all(seed, indices, size).to(torch.bfloat16, memory_format=torch.channels_last)
    decoded = autoencoder.taesd_decoder(autoencoder.taesd_encoder(drawn)).float()
    return _to_pixels(resize(decoded, SIZE))


def _to_pixels(pictures: Tensor) -> Pixels:
    pixels: Pixels = (pictures.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
    return pixels


def _render_all(seed: int, indices: Sequence[int], size: int) -> Tensor:
    pixels = np.stack([render(sample_scene(seed, index), size) for index in indices])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0

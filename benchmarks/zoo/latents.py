"""Training pictures as latents: rendered and encoded once, cached on disk outside the repository."""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .autoencoder import Autoencoder, load_autoencoder, to_tensor
from .captions import embed
from .rendering import render
from .scenes import caption, sample_scene

_BATCH, _WORKERS = 16, 2


@dataclass(frozen=True)
class LatentSet:
    """N training pairs, half precision: what the diffusion model sees, and what it is told."""

    latents: Tensor
    """(N, C, size/8, size/8) float16, about unit variance."""
    context: Tensor
    """(N, T, W) float16."""
    pooled: Tensor
    """(N, W) float16."""


def load_latents(work: Path, seed: int, size: int, count: int, kind: Autoencoder) -> LatentSet:
    """The first `count` training scenes of a seed at `size` pixels, encoded now or taken from the cache.

    Args:
        work: Folder of the cache.
        seed: Seed of the scenes.
        size: Side of the pictures in pixels.
        count: Number of scenes.
        kind: The autoencoder that encodes them.

    Returns:
        The set. The cache is keyed by the encoder's weights, so a new one is never mixed with an old one.
    """
    path = work / f"latents_{size}_{seed}_{count}_{_encoder_key(kind)}.safetensors"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        save_file(_encode_all(kind, seed, size, count), path)
    return LatentSet(**load_file(path))


def _encoder_key(kind: Autoencoder) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(load_file(kind.checkpoint).items()):
        if name.startswith("taesd_encoder."):
            digest.update(name.encode("ascii") + value.numpy().tobytes())
    return digest.hexdigest()[:12]


def _encode_all(kind: Autoencoder, seed: int, size: int, count: int) -> dict[str, Tensor]:
    autoencoder: Any = load_autoencoder(kind).to(torch.bfloat16)
    encode_batch = partial(_encode_batch, autoencoder.taesd_encoder, seed, size, count)
    batches = []
    with ThreadPoolExecutor(_WORKERS) as pool:
        for batch in pool.map(encode_batch, range(0, count, _BATCH)):
            batches.append(batch)
            if len(batches) % 32 == 0:
                sys.stdout.write(f"latents at {size} px: {len(batches) * _BATCH} of {count}\n")
                sys.stdout.flush()
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


@torch.no_grad()
def _encode_batch(encoder: nn.Module, seed: int, size: int, count: int, start: int) -> dict[str, Tensor]:
    torch.set_num_threads(1)
    scenes = [sample_scene(seed, index) for index in range(start, min(start + _BATCH, count))]
    pictures = to_tensor(np.stack([render(scene, size) for scene in scenes]))
    latents = encoder(pictures.to(torch.bfloat16, memory_format=torch.channels_last))
    embeddings = [embed(caption(scene)) for scene in scenes]
    return {
        "latents": latents.contiguous().half(),
        "context": torch.cat([embedding.context for embedding in embeddings]).half(),
        "pooled": torch.cat([embedding.pooled for embedding in embeddings]).half(),
    }

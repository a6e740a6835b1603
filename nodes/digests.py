"""Short sums of what a training was started with: it is not gone on with for another model or other prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

MANY, FEW = 2**20, 32
"""Most values that are looked at of one tensor: of what a training is given, and of each of a network's weights."""


def digest_of(value: Any, most: int = MANY) -> str:
    """Return a short sum of nested containers of numbers, texts and tensors.

    Args:
        value: Of anything else, its kind counts and what it has as `weights`, as LoRAs do.
        most: Values that count of each tensor, spread over it.
    """
    found = hashlib.sha256()
    for part in _parts(value, most):
        found.update(part)
    return found.hexdigest()[:12]


def weights_digest(model: Any) -> str:
    """Return a short sum of a MODEL's own weights, whether or not LoRAs are merged into them at this moment."""
    own = {
        name: model.backup[name].weight if name in model.backup else weight
        for name, weight in model.model.named_parameters()
    }
    return digest_of(own, FEW)


def patches_digest(model: Any) -> str:
    """Return a short sum of what is laid over a MODEL's weights: LoRAs with their strengths."""
    return digest_of(model.patches, FEW)


def _parts(value: Any, most: int) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{tuple(value.shape)} {value.dtype}".encode()
        spread = value.detach().reshape(-1)[:: max(value.numel() // most, 1)]
        yield spread.to("cpu", torch.float32).numpy().tobytes()
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield str(key).encode()
            yield from _parts(value[key], most)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item, most)
    elif value is None or isinstance(value, str | bytes | int | float):
        yield repr(value).encode()
    else:
        yield type(value).__qualname__.encode()
        yield from _parts(getattr(value, "weights", ()), most)

"""Pictures as the metrics take them: checked, alike in size, and resized for the classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def require_pictures(name: str, pictures: Tensor) -> None:
    """Refuse what is no batch of pictures.

    Args:
        name: What to call it in the message.
        pictures: Should be (B, H, W, 3) float with finite values.

    Raises:
        ValueError: If the shape or a value is wrong.
    """
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or len(pictures) == 0:
        raise ValueError(
            f"{name}: got shape {tuple(pictures.shape)}; expected (pictures, height, width, 3) with at least one "
            "picture; stack decoded pictures along a first axis"
        )
    if not pictures.is_floating_point():
        raise ValueError(
            f"{name}: got {pictures.dtype}; expected floats in [0, 1]; measure what the decoder gave, not a file"
        )
    _require_finite(name, pictures)


def require_alike(first: Tensor, second: Tensor) -> None:
    """Refuse two tensors that cannot be compared entry by entry.

    Raises:
        ValueError: If their shapes differ or a value is not finite.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"comparison: got shapes {tuple(first.shape)} and {tuple(second.shape)}; expected the same shape; "
            "compare runs of the same size and number of seeds"
        )
    _require_finite("comparison", first)
    _require_finite("comparison", second)


def _require_finite(name: str, values: Tensor) -> None:
    bad = int((~values.isfinite()).sum())
    if bad:
        raise ValueError(
            f"{name}: got {bad} of {values.numel()} values that are not finite; expected numbers; a sampler that "
            "diverged gives these, so look at its settings"
        )


def resize(pictures: Tensor, size: int) -> Tensor:
    """Resize with antialiasing: (B, 3, H, W) to (B, 3, size, size)."""
    if tuple(pictures.shape[-2:]) == (size, size):
        return pictures
    return nn.functional.interpolate(
        pictures, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )


def to_channels_first(pictures: Tensor) -> Tensor:
    """(B, H, W, 3) to (B, 3, H, W) in [0, 1], float32: what decoders overshoot is cut off."""
    return pictures.to(torch.float32).clamp(0.0, 1.0).permute(0, 3, 1, 2)

"""Filters over the picture's tokens, seen as an image with D channels.

Shapes: B batch, N tokens of which the first h * w are the picture, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-16
"""Keeps the spectrum finite at frequency 0, as in the published code."""


def wiener_gain(size: int, a: float, b: float, beta: float) -> Tensor:
    """Return the gain of each frequency along one axis, for a picture under noise.

    The best linear estimate of x0 from a * x0 + b * noise, where the power of natural pictures falls as 1 / f^beta
    (SeaCache, Chung et al. 2026, arXiv:2602.18993).

    Args:
        size: Tokens along the axis.
        a: Share of the picture.
        b: Share of the noise.
        beta: Decay of the spectrum; 2 for pictures.

    Returns:
        (size,) float64, in the order of `torch.fft.fftfreq`.
    """
    frequency = torch.fft.fftfreq(size, dtype=torch.float64).abs()
    power = 1.0 / (frequency**beta + FLOOR)
    gain: Tensor = a * power / (a * a * power + b * b + FLOOR)
    return gain


def wiener_filtered(
    tokens: Tensor, grid: tuple[int, int], mixing: tuple[float, float], beta: float
) -> Tensor:
    """Return the picture's tokens with the frequencies kept that stand out from the noise.

    The gain is the product of both axes' gains, divided by its mean.

    Args:
        tokens: (B, N, D) with N >= h * w; what follows the picture's tokens is left out.
        grid: Rows and columns (h, w) of the picture's tokens.
        mixing: Shares (a, b) of picture and noise, neither 0.
        beta: Decay of the spectrum.

    Returns:
        (B, h, w, D) float32.
    """
    h, w = grid
    image = tokens[:, : h * w].float().reshape(-1, h, w, tokens.shape[-1])  # (B, h, w, D)
    gain = torch.outer(wiener_gain(h, *mixing, beta), wiener_gain(w, *mixing, beta))  # (h, w)
    gain = (gain / gain.mean()).to(device=tokens.device, dtype=torch.float32)
    # Pictures are real, so half the columns of the spectrum say it all.
    half = gain[:, : w // 2 + 1, None]  # (h, w // 2 + 1, 1)
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(image, dim=(1, 2)) * half, s=grid, dim=(1, 2))
    return filtered

"""Closeness of a picture to the same seed's reference, without any network.

B pictures, H and W their height and width.
"""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from .pictures import require_alike, require_pictures

_WINDOW = 11
"""Side in pixels of the Gaussian window of SSIM."""


def psnr(pictures: Tensor, references: Tensor) -> Tensor:
    """Peak signal to noise ratio of each picture, on floats and not on 8-bit files.

    Args:
        pictures: (B, H, W, 3) floats; values outside [0, 1] are cut off, as a saved picture would be.
        references: The same shape.

    Returns:
        (B,) float64 in dB; infinite where both are equal.

    Raises:
        ValueError: If the shapes differ or a value is not finite.
    """
    pairs = _pairs(pictures, references)
    return torch.tensor([_psnr(one, other) for one, other in pairs], dtype=torch.float64)


def ssim(pictures: Tensor, references: Tensor) -> Tensor:
    """Structural similarity of each picture, with the window of its paper (11 pixels, deviation 1.5).

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861, Eq. 13.

    Args:
        pictures: (B, H, W, 3) floats, each side 11 pixels or more.
        references: The same shape.

    Returns:
        (B,) float64, 1 where both are equal.

    Raises:
        ValueError: If the shapes differ, a value is not finite or a picture is smaller than the window.
    """
    pairs = _pairs(pictures, references)
    if min(pictures.shape[1:3]) < _WINDOW:
        raise ValueError(
            f"ssim: got pictures of {pictures.shape[2]} by {pictures.shape[1]} pixels; expected {_WINDOW} or more "
            "a side, the size of its window; compare larger pictures"
        )
    return torch.tensor([_ssim(one, other) for one, other in pairs], dtype=torch.float64)


def latent_error(latents: Tensor, references: Tensor) -> Tensor:
    """Euclidean norm of the difference over that of the reference.

    Args:
        latents: (B, C, h, w) floats.
        references: The same shape.

    Returns:
        (B,) float64, dimensionless.

    Raises:
        ValueError: If the shapes differ, a value is not finite or a reference is all zero.
    """
    require_alike(latents, references)
    change = (latents.double() - references.double()).flatten(1).norm(dim=1)
    scale = references.double().flatten(1).norm(dim=1)
    if not bool((scale > 0.0).all()):
        raise ValueError(
            "latent_error: got a reference that is zero everywhere; expected the latents of an uncached run; "
            "look at how the reference was sampled"
        )
    error: Tensor = change / scale
    return error


Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _pairs(pictures: Tensor, references: Tensor) -> list[tuple[Array, Array]]:
    require_pictures("pictures", pictures)
    require_pictures("references", references)
    require_alike(pictures, references)
    first, second = (values.double().clamp(0.0, 1.0).cpu().numpy() for values in (pictures, references))
    return list(zip(first, second, strict=True))


def _psnr(picture: Array, reference: Array) -> float:
    if np.array_equal(picture, reference):
        return float("inf")
    return float(peak_signal_noise_ratio(reference, picture, data_range=1.0))  # type: ignore[no-untyped-call]


def _ssim(picture: Array, reference: Array) -> float:
    value = structural_similarity(  # type: ignore[no-untyped-call]
        reference,
        picture,
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)

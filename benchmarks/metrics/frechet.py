"""Frechet distance to the data in the classifier's features, paired by seed.

A distance from N samples is too large by an amount that falls with N (Chong and Forsyth 2020,
arXiv:1911.07023). Two runs over the same seeds share most of it, so what is reported is their difference; its
interval resamples the same seeds in both, and is reflected about the estimate ("basic" bootstrap, Davison and
Hinkley 1997, section 5.2), which takes out the bias that resampling adds once more.

N samples, F features, D bootstrap draws. All arithmetic in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .intervals import LEVEL, NUM_DRAWS, Interval

Array = NDArray[np.float64]
SAMPLES_PER_FEATURE = 4
_CHUNK = 25


@dataclass(frozen=True)
class Gaussian:
    """Mean (..., F) and covariance (..., F, F) of one or several sets of samples."""

    mean: Array
    covariance: Array


def fit_gaussian(samples: Tensor | Array) -> Gaussian:
    """Mean and unbiased covariance of samples.

    Args:
        samples: (N, F), N at least 4 F.

    Raises:
        ValueError: If there are too few samples, or a value is not finite.
    """
    values = _checked(samples)
    return Gaussian(values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False)))


def frechet_distance(first: Gaussian, second: Gaussian) -> Array:
    """Squared 2-Wasserstein distance of two Gaussians.

    Source: Dowson and Landau 1982, doi:10.1016/0047-259X(82)90077-X; Heusel et al. 2017, arXiv:1706.08500, Eq. 6.
    The trace of the root of S1 S2 is taken from the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric.

    Args:
        first: One Gaussian.
        second: One Gaussian, or D of them.

    Returns:
        () or (D,), in the squared unit of the features.
    """
    root = _root(first.covariance)
    eigenvalues = np.linalg.eigvalsh(root @ second.covariance @ root)
    shared = np.sqrt(eigenvalues.clip(min=0.0)).sum(axis=-1)
    spread = np.trace(first.covariance) + np.trace(second.covariance, axis1=-2, axis2=-1) - 2.0 * shared
    distance: Array = np.square(second.mean - first.mean).sum(axis=-1) + spread
    # Rounding would leave that of a Gaussian to itself a little below zero.
    return np.maximum(distance, 0.0)


def frechet_difference(
    run: Tensor | Array, reference: Tensor | Array, data: Gaussian, seed: int = 0
) -> Interval:
    """How much farther from the data a run is than its reference run.

    Args:
        run: (N, F) features of a run.
        reference: (N, F) features of the reference run: the same seeds in the same order.
        data: What both are compared with; it is a fixed yardstick and is not resampled.
        seed: Of the resampling.

    Returns:
        Distance of the run minus that of the reference, with its paired bootstrap interval.

    Raises:
        ValueError: If the shapes differ, there are too few samples, or a value is not finite.
    """
    one, other = _checked(run), _checked(reference)
    if one.shape != other.shape:
        raise ValueError(
            f"frechet_difference: got features of shapes {one.shape} and {other.shape}; expected the same seeds in "
            "both; draw both runs from one list of seeds"
        )
    estimate = float(_distance_of(one, data) - _distance_of(other, data))
    draws = np.concatenate(list(_draw_differences(one, other, data, seed)))
    tail = 100.0 * (1.0 - LEVEL) / 2.0
    low, high = np.percentile(draws, [tail, 100.0 - tail])
    return Interval(estimate, 2.0 * estimate - float(high), 2.0 * estimate - float(low))


def _distance_of(samples: Array, data: Gaussian) -> Array:
    return frechet_distance(data, fit_gaussian(samples))


def _draw_differences(one: Array, other: Array, data: Gaussian, seed: int) -> list[Array]:
    dice = np.random.default_rng(seed)
    differences = []
    for _ in range(0, NUM_DRAWS, _CHUNK):
        counts = dice.multinomial(len(one), np.full(len(one), 1.0 / len(one)), size=_CHUNK).astype(np.float64)
        distances = [frechet_distance(data, _weighted(samples, counts)) for samples in (one, other)]
        differences.append(distances[0] - distances[1])
    return differences


def _weighted(samples: Array, counts: Array) -> Gaussian:
    """Gaussians of resampled samples (N, F), where draw d takes sample n `counts[d, n]` times."""
    total = len(samples)
    mean = counts @ samples / total  # (D, F)
    second = (samples.T * counts[:, None, :]) @ samples  # (D, F, F)
    covariance = (second - total * mean[:, :, None] * mean[:, None, :]) / (total - 1)
    return Gaussian(mean, covariance)


def _root(covariance: Array) -> Array:
    """The symmetric square root of a positive semidefinite matrix (F, F)."""
    values, axes = np.linalg.eigh(covariance)
    root: Array = (axes * np.sqrt(values.clip(min=0.0))) @ axes.T
    return root


def _checked(samples: Tensor | Array) -> Array:
    values = np.asarray(samples, np.float64)
    num_features = values.shape[1] if values.ndim == 2 else 0
    if values.ndim != 2 or len(values) < SAMPLES_PER_FEATURE * num_features or len(values) < 2:
        raise ValueError(
            f"Frechet distance: got samples of shape {values.shape}; expected (samples, features) with at least "
            f"{SAMPLES_PER_FEATURE} samples per feature; draw more seeds"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"Frechet distance: got {int((~np.isfinite(values)).sum())} values that are not finite; expected "
            "numbers; look for pictures that diverged"
        )
    return values

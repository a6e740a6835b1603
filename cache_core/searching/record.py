"""What uncached samplings leave behind for a search: small, and exact for every forecast.

P pictures, R roles (prompt and, with guidance, negative prompt), T steps, N numbers per picture.

A forecast is a combination of earlier outputs, and its trust follows from their inner products. So nothing is lost when the R * T
outputs of a picture are replaced by as many coordinates in the space that they span, however large the picture is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CacheError
from ..types import Run

SMALLEST, LARGEST = 1e-9, 1e9
"""Errors below the first are rounding; the second is that of a picture that is infinite or undefined."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """Uncached samplings of P pictures.

    Attributes:
        run: What all have in common.
        outputs: (P, R, T, R * T) float32, the coordinates of each role's output in each step.
        scales: (P,) float32, norm of each final latent.
    """

    run: Run
    outputs: Tensor
    scales: Tensor

    @property
    def shares(self) -> tuple[float, ...]:
        """What each role counts in the output by which, times the change of sigma, the sampler moves the latent."""
        return shares_of(self.run, self.outputs.shape[1])


def shares_of(run: Run, num_roles: int) -> tuple[float, ...]:
    """Return what each of the roles of a run counts in what guidance makes of them; the shares add up to 1."""
    return (1.0,) if run.cfg is None or num_roles == 1 else (run.cfg, 1.0 - run.cfg)


def make_record(run: Run, outputs: Sequence[Tensor], latents: Sequence[Tensor]) -> Record:
    """Return the record of one or more samplings.

    Args:
        run: What all have in common.
        outputs: Of each sampling (R, T, B, ...): (latent - denoised) / sigma in the first call of every step, role by role.
        latents: Of each sampling (B, ...): where it ended.

    Raises:
        CacheError: If something is infinite, undefined or zero throughout.
    """
    scales = torch.cat([norms(latent) for latent in latents])
    found = torch.cat([_by_picture(one) for one in outputs])
    if not bool(found.isfinite().all() and scales.isfinite().all() and scales.all()):
        raise CacheError(
            "The uncached sampling gave latents that are infinite, undefined or zero throughout, so no step list can be compared "
            "with it. Look at the pictures that this MODEL makes uncached; try another data type or sampler."
        )
    return Record(run=run, outputs=found, scales=scales)


def _by_picture(outputs: Tensor) -> Tensor:
    """Return the coordinates (B, R, T, R * T) of outputs (R, T, B, ...)."""
    num_roles, num_steps, num_pictures = outputs.shape[:3]
    vectors = outputs.movedim(2, 0).reshape(num_pictures, num_roles * num_steps, -1)
    return coordinates(vectors).reshape(num_pictures, num_roles, num_steps, num_roles * num_steps)


def coordinates(vectors: Tensor) -> Tensor:
    """Return (P, V, V) float32 with the inner products of `vectors` (P, V, N): their coordinates in the space they span."""
    exact = vectors.double()
    values, axes = torch.linalg.eigh(exact @ exact.transpose(1, 2))
    found: Tensor = axes * values.clamp(min=0.0).sqrt()[:, None, :]
    return found.float()


def norms(latents: Tensor) -> Tensor:
    """Return the norm (B,) float32 of each of `latents` (B, ...)."""
    found: Tensor = torch.linalg.vector_norm(latents.float().flatten(1), dim=1)
    return found.cpu()


def relative_errors(latents: Tensor, uncached: Tensor) -> Tensor:
    """Return how far each of `latents` (B, ...) is from the uncached one, relative to its norm: (B,) float32."""
    return norms(latents.float().cpu() - uncached.float().cpu()) / norms(uncached)


def picture_errors(pictures: Tensor, uncached: Tensor) -> Tensor:
    """Return how far each of `pictures` (B, H, W, 3) in [0, 1] is from the uncached one: the root mean square, (B,) float32."""
    difference = pictures.float().clamp(0.0, 1.0) - uncached.float().clamp(0.0, 1.0)
    return norms(difference) / math.sqrt(uncached[0].numel())


def typical(errors: Tensor) -> float:
    """Return the geometric mean of `errors` (P,): the error of the mean PSNR, which no single picture rules."""
    return float(_levels(errors).mean().exp())


def is_nearer(errors: Tensor, others: Tensor) -> bool:
    """Return whether `errors` (P,) are lower than `others` (P,) of the same pictures, by more than their standard error.

    Compared are the logarithms, picture by picture: what lies in the pictures themselves falls out, and what is left is a difference
    in decibels whose mean must exceed its standard error. One picture has no spread; there the lower error is the nearer one.
    """
    gains = _levels(others) - _levels(errors)
    doubt = float(gains.std()) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return float(gains.mean()) > doubt


def _levels(errors: Tensor) -> Tensor:
    return errors.double().nan_to_num(nan=LARGEST).clamp(SMALLEST, LARGEST).log()

"""Extrapolation over the noise level: where a feature was going, and how far that may be trusted.

B pictures; F_n the newest of the computed features, sigma_n its noise level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

UNTESTED = 0.5
"""Trust in a slope that no earlier slope speaks for or against."""


def newton_forecast(
    values: Sequence[Tensor], nodes: Sequence[float], target: float, order: int, trust: float | None
) -> Tensor:
    """Return a new tensor: the feature at `target`, by Newton's polynomial with every term but the first held back.

    F(sigma) = F_n + sum over m of trust_m * D_m * (sigma - sigma_n) * ... * (sigma - sigma_(n-m+1)), with D_m the newest
    divided difference of order m. Trust 1 is the polynomial through the newest features, which is TaylorSeer's forecast
    (Liu et al. 2025, arXiv:2503.06923, Eq. 5-7) for steps that are unevenly far apart; trust 0 is the newest one.

    Args:
        values: The computed features (B, ...), oldest first; those that the order needs, or fewer.
        nodes: Their noise levels, all different.
        target: The noise level to forecast at.
        order: Highest order; where there are too few features a lower one is taken.
        trust: Share of every term that is added; None measures it term by term, see `persistence`.
    """
    rows = _divided_differences([value.float() for value in values], nodes, order)
    forecast, reach = rows[0][-1].clone(), 1.0
    for m, row in enumerate(rows[1:], 1):
        reach *= target - nodes[-m]
        share = _measured(row, m) if trust is None else trust
        forecast += row[-1] * (share * reach)
    return forecast.to(values[-1].dtype)


def persistence(newest: Tensor, older: Tensor) -> Tensor:
    """Return how much of a difference came back in the next one: the root of <newest, older> / <older, older>.

    The quotient is what least squares would make of the newer difference as a multiple of the older, per picture, cut off
    at 0 and 1. Noise in the older one makes it too small, so its root is taken.

    Args:
        newest: (B, ...) the difference that is to be carried on.
        older: The one before it, of the same shape.

    Returns:
        (B, 1, ...) float32 in [0, 1]; 0 where the older one is zero.
    """
    dims = tuple(range(1, newest.dim()))
    energy = (older * older).sum(dims, keepdim=True)
    common = (newest * older).sum(dims, keepdim=True)
    return torch.where(energy > 0, common / energy, 0.0).clamp(0.0, 1.0).sqrt()


def _measured(row: Sequence[Tensor], order: int) -> Tensor | float:
    """Return the trust in the newest of the divided differences of one order."""
    if len(row) > 1:
        return persistence(row[-1], row[-2])
    return UNTESTED if order == 1 else 0.0


def _divided_differences(
    values: Sequence[Tensor], nodes: Sequence[float], order: int
) -> list[Sequence[Tensor]]:
    """Return Newton's table: row m has the divided differences of order m, oldest first."""
    rows: list[Sequence[Tensor]] = [values]
    for m in range(1, min(order, len(values) - 1) + 1):
        widths = [last - first for first, last in zip(nodes, nodes[m:], strict=False)]
        rows.append([(b - a) / width for (a, b), width in zip(pairwise(rows[-1]), widths, strict=True)])
    return rows

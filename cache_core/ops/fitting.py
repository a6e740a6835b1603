"""Least squares polynomials, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from ..errors import CacheError

Pair = tuple[float, float]
"""Change of the indicator, change of the output; both dimensionless."""

ORDER = 4
"""As published; higher orders gain nothing there."""

GRID = 1001
"""Points of the observed range at which slope and sign are looked at."""

ROUNDING = 1e-9
"""Spread below which numbers are taken for equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted polynomial and how far to trust it.

    Attributes:
        coefficients: From the highest power to the constant.
        pairs: What it was fitted to.
        low: Smallest change of the indicator observed.
        high: Largest.
        correlation: Pearson's, of P(d) with the output's change; 0 where either is constant.
        raw_correlation: The same of d itself: what `identity` is worth.
        error: Root mean square of P(d) - change.
        is_monotone: Whether P never falls between `low` and `high`.
        is_positive: Whether P is above 0 there.
    """

    coefficients: tuple[float, ...]
    pairs: tuple[Pair, ...]
    low: float
    high: float
    correlation: float
    raw_correlation: float
    error: float
    is_monotone: bool
    is_positive: bool


def fit(pairs: Sequence[Pair], order: int = ORDER) -> Fit:
    """Return the polynomial of `order` that is nearest to the pairs in the least squares sense.

    Raises:
        CacheError: If there are not enough different changes of the indicator to fit it.
    """
    x, y = np.asarray(pairs, dtype=np.float64).reshape(-1, 2).T
    num_different = len(np.unique(x))
    if num_different <= order or not np.isfinite([x, y]).all():
        raise CacheError(
            f"A polynomial of order {order} cannot be fitted to {len(x)} pairs with {num_different} different changes of the "
            f"indicator, expected at least {order + 1}, all finite. Calibrate with more steps, seeds or prompts."
        )
    # Fitted on [-1, 1], where powers are well conditioned, then written in d.
    polynomial = Polynomial.fit(x, y, order).convert()
    padded = np.pad(polynomial.coef, (0, order + 1 - len(polynomial.coef)))
    values = polynomial(np.linspace(x.min(), x.max(), GRID))
    return Fit(
        coefficients=tuple(map(float, padded[::-1])),
        pairs=tuple(zip(x.tolist(), y.tolist(), strict=True)),
        low=float(x.min()),
        high=float(x.max()),
        correlation=_correlation(polynomial(x), y),
        raw_correlation=_correlation(x, y),
        error=float(np.sqrt(np.mean((polynomial(x) - y) ** 2))),
        is_monotone=bool((np.diff(values) >= 0).all()),
        is_positive=bool((values > 0).all()),
    )


def verdict(fitted: Fit) -> str:
    """Return in one line how far to trust a fit, and what to do where it is doubtful."""
    doubts = []
    if not fitted.is_monotone:
        doubts.append("it falls somewhere on the observed range: try a lower order")
    if not fitted.is_positive:
        doubts.append("it is not positive everywhere on it")
    if fitted.correlation < fitted.raw_correlation + 0.01:
        doubts.append("it tells hardly more than the change itself: 'identity' would do")
    return (
        f"Doubtful: {'; '.join(doubts)}." if doubts else "Rises and is positive on the whole observed range."
    )


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    is_constant = min(np.ptp(a), np.ptp(b)) < ROUNDING
    return 0.0 if is_constant else float(np.corrcoef(a, b)[0, 1])

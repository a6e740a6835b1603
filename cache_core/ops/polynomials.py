"""Polynomials as TeaCache writes them: coefficients from the highest power to the constant."""

from __future__ import annotations

import math
from collections.abc import Sequence


def evaluate(coefficients: Sequence[float], x: float) -> float:
    """Return the polynomial's value at `x`, by Horner's rule."""
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


def evaluate_within(
    coefficients: Sequence[float], x: float, low: float = 0.0, high: float = math.inf
) -> float:
    """Return the polynomial's value at `x` >= 0; outside of `low` to `high` a value in proportion to that at the bound.

    A polynomial of order 4 means nothing beyond the points it was fitted to.
    """
    bound = min(max(x, low), high)
    return evaluate(coefficients, bound) * (x / bound if bound else 1.0)

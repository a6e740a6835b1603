"""How much an indicator has changed: one number that an adaptive schedule compares with its threshold."""

from __future__ import annotations

from torch import Tensor


def relative_l1(current: Tensor, previous: Tensor) -> Tensor:
    """Return the mean absolute change of a tensor, relative to its previous magnitude.

    The distance of TeaCache (Liu et al. 2024, arXiv:2411.19108, Eq. 4) and of First-Block Cache (ParaAttention).

    Args:
        current: The tensor now, of any shape.
        previous: The tensor at the earlier call, of the same shape.

    Returns:
        () float32, dimensionless. 0 if nothing changed; inf or nan if `previous` is all zero.
    """
    change, magnitude = (current.float() - previous.float()).abs(), previous.float().abs()
    return change.mean() / magnitude.mean()

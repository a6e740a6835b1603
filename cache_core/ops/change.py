"""How much features change from call to call, and what follows for when to compute them again.

T steps, S sites, B pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def change_ratio(current: Sequence[Tensor], previous: Sequence[Tensor]) -> Tensor:
    """Return how much a feature changed, relative to its present magnitude: |now - before| / |now|, in L1 norms.

    Block Caching's L1rel (Wimbauer et al. 2023, arXiv:2312.03209, section 3.2) and SmoothCache's error (arXiv:2411.10510).
    The streams of a feature count as one tensor; pictures are independent.

    Args:
        current: The feature now, one tensor (B, ...) per stream.
        previous: The same feature earlier.

    Returns:
        (B,) float32. A feature that was and stayed zero has changed by 0, one that became zero by 1; not finite where
        a feature is not.
    """
    pairs = list(zip(current, previous, strict=True))
    change = torch.stack([_l1(now.float() - before.float()) for now, before in pairs]).sum(0)
    magnitude = torch.stack([_l1(now.float()) for now, _ in pairs]).sum(0)
    vanished = (change > 0).float()
    return torch.where(magnitude == 0, vanished, change / magnitude)


def refresh_schedule(profile: Tensor, delta: float) -> Tensor:
    """Return when to compute each site so that no reused feature has changed by more than `delta` in all.

    Block Caching's automatic schedule (arXiv:2312.03209, section 3.2): from the step at which a site was computed, its
    changes add up; the first step at which the sum would exceed `delta` computes it again and begins a new sum.

    Args:
        profile: (T, S) change of each site from the step before; row 0 is not used.
        delta: Largest sum that is still reused. 0 computes everything.

    Returns:
        (T, S) bool, true to compute; the first row is all true.
    """
    compute = torch.ones_like(profile, dtype=torch.bool)
    if delta <= 0:
        return compute
    total = torch.zeros_like(profile[0], dtype=torch.float64)
    for step in range(1, len(profile)):
        total = total + profile[step]
        compute[step] = total > delta
        total[compute[step]] = 0.0
    return compute


def delta_for_reuse(profile: Tensor, reuse: float, steps: Sequence[int]) -> float:
    """Return the smallest delta, near enough, whose schedule reuses at least the share `reuse` of all evaluations.

    The share does not quite grow with delta, because a later refresh may meet larger changes; so this is a delta
    at which the share is reached, found by halving, and not always the very smallest.

    Args:
        profile: (T, S) change of each site from the step before.
        reuse: The share, from 0 to what leaving out all but the first step would give.
        steps: The step of each call.
    """
    low, high = 0.0, float(profile[1:].sum(0, dtype=torch.float64).max()) * 1.001
    for _ in range(30):
        middle = (low + high) / 2
        computed = refresh_schedule(profile, middle)[list(steps)]
        low, high = (low, middle) if 1 - float(computed.double().mean()) >= reuse else (middle, high)
    return high


def _l1(x: Tensor) -> Tensor:
    return x.abs().flatten(1).sum(1)

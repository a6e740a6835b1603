"""MagCache's published ratios (github.com/Zehong-Ma/MagCache): |r_i| / |r_(i-1)| of the residual over all blocks, per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PUBLISHED_RATIOS: Mapping[str, tuple[float, ...]] = {
    "flux.1-dev": (
        *(
            1.0,
            1.21094,
            1.11719,
            1.07812,
            1.0625,
            1.03906,
            1.03125,
            1.03906,
            1.02344,
            1.03125,
            1.02344,
            0.98047,
        ),
        *(
            1.01562,
            1.00781,
            1.0,
            1.00781,
            1.0,
            1.00781,
            1.0,
            1.0,
            0.99609,
            0.99609,
            0.98047,
            0.98828,
            0.96484,
        ),
        *(0.95703, 0.93359, 0.89062),
    ),
    "flux.1-kontext-dev": (
        *(
            1.0,
            1.21875,
            1.0625,
            1.03125,
            1.03125,
            1.0,
            1.00781,
            1.03906,
            0.98047,
            1.03125,
            0.96875,
            1.02344,
            1.0,
        ),
        *(0.99219, 1.02344, 0.98047, 0.95703, 0.98828, 0.98047, 0.88672),
    ),
}
"""By model: Flux.1-dev was measured in 28 steps, Kontext in 20."""


def resampled(ratios: Sequence[float], num_steps: int) -> tuple[float, ...]:
    """Return the ratios for `num_steps` steps: of each the one at the nearest place of the list, ends on ends.

    The published rule; a ratio is not rescaled for longer or shorter steps.
    """
    if num_steps < 2:
        return tuple(ratios[:num_steps])
    scale = (len(ratios) - 1) / (num_steps - 1)
    return tuple(ratios[round(step * scale)] for step in range(num_steps))

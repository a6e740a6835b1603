"""Lists of full steps: written by hand, or spread by a rule."""

from __future__ import annotations

from collections.abc import Sequence

LIST_FORM = r"\s*\d+\s*(-\s*\d+\s*)?(,\s*\d+\s*(-\s*\d+\s*)?)*"
"""Regular expression of a list such as `0-3, 5, 8`."""


def listed_steps(text: str) -> tuple[int, ...]:
    """Return the steps of a list such as `0-3, 5, 8`, in order and each once; `text` has `LIST_FORM`."""
    spans = [part.split("-") for part in text.split(",")]
    return tuple(sorted({step for span in spans for step in range(int(span[0]), int(span[-1]) + 1)}))


SHIFT = 2.0
"""Shift of the flow schedule along whose steps predictions turn about evenly; found on the zoo's models."""


def unshifted(noise: float, shift: float = SHIFT) -> float:
    """Return where a flow schedule of the given shift has a share of noise t: at u in t = shift * u / (1 + (shift - 1) * u).

    Esser et al. 2024, arXiv:2403.03206, Eq. 23: the larger the shift, the more of a schedule's evenly spread u are noisy.
    """
    return noise / (shift - (shift - 1) * noise)


def even_steps(num_steps: int, num_full: int) -> tuple[int, ...]:
    """Return `num_full` of `num_steps` steps, evenly spread; the first step is always there."""
    return _nearest([step / num_steps for step in range(num_steps)], num_full)


def shifted_steps(noise: Sequence[float], num_full: int, shift: float = SHIFT) -> tuple[int, ...]:
    """Return the `num_full` steps that lie evenly along a flow schedule of the given shift.

    Args:
        noise: Share of noise at each step and after the last, noisiest first, in [0, 1].
        num_full: How many steps; all where there are not more. The first step is always there.
        shift: Above 0; 1 spreads them evenly over the noise.
    """
    first, *others, end = (unshifted(t, shift) for t in noise)
    return _nearest([(first - u) / max(first - end, 1e-9) for u in (first, *others)], num_full)


def _nearest(progress: Sequence[float], num_full: int) -> tuple[int, ...]:
    """Return the steps nearest to evenly spread progress, from 0 at the first step to 1 after the last; each step once.

    A full step serves what lies around it, so the last one is wanted half a gap before the end.
    """
    num_steps = len(progress)
    if num_full >= num_steps:
        return tuple(range(num_steps))
    steps = [0]
    for k in range(1, num_full):
        wanted = k / (num_full - 0.5)
        free = range(steps[-1] + 1, num_steps - num_full + k + 1)
        steps.append(min(free, key=lambda step: abs(progress[step] - wanted)))
    return tuple(steps)

"""Lists of full steps: written by hand, or spread by a rule."""

from __future__ import annotations

from collections.abc import Sequence

LIST_FORM = r"\s*\d+\s*(-\s*\d+\s*)?(,\s*\d+\s*(-\s*\d+\s*)?)*"
"""Regular expression of a list such as `0-3, 5, 8`."""


def listed_steps(text: str) -> tuple[int, ...]:
    """Return the steps of a list such as `0-3, 5, 8`, in order and each once; `text` has `LIST_FORM`."""
    spans = [part.split("-") for part in text.split(",")]
    return tuple(sorted({step for span in spans for step in range(int(span[0]), int(span[-1]) + 1)}))


GUIDED_SHIFT = 2.0
"""Shift of the flow schedule along whose steps guided predictions turn about evenly; found on the zoo's Flux and SD3."""


def unshifted(noise: float, shift: float = GUIDED_SHIFT) -> float:
    """Return where a flow schedule of the given shift has a share of noise t: at u in t = shift * u / (1 + (shift - 1) * u).

    Esser et al. 2024, arXiv:2403.03206, Eq. 23: the larger the shift, the more of a schedule's evenly spread u are noisy.
    """
    return noise / (shift - (shift - 1) * noise)


def even_steps(num_steps: int, num_full: int) -> tuple[int, ...]:
    """Return `num_full` of `num_steps` steps, evenly spread.

    The first step is always there, and the last one never unless all are: nothing follows that could profit from it.
    """
    return _nearest([step / max(num_steps - 2, 1) for step in range(num_steps)], num_full)


def shifted_steps(noise: Sequence[float], num_full: int, shift: float = GUIDED_SHIFT) -> tuple[int, ...]:
    """Return the `num_full` steps whose noise is nearest to that of a flow schedule of the given shift.

    Args:
        noise: Share of noise at each step, noisiest first, in (0, 1].
        num_full: How many steps; all where there are not more. First and last step as in `even_steps`.
        shift: Above 0; 1 spreads them evenly over the noise.
    """
    places = [unshifted(t, shift) for t in noise]
    first, last = places[0], places[max(len(places) - 2, 0)]
    return _nearest([(first - u) / max(first - last, 1e-9) for u in places], num_full)


def _nearest(progress: Sequence[float], num_full: int) -> tuple[int, ...]:
    """Return the steps nearest to evenly spread progress: 0 at the first step, 1 at the last but one; each step once."""
    num_steps = len(progress)
    if num_full >= num_steps:
        return tuple(range(num_steps))
    steps = [0]
    for k in range(1, num_full):
        wanted = k / (num_full - 1)
        free = range(steps[-1] + 1, num_steps - num_full + k)
        steps.append(min(free, key=lambda step: abs(progress[step] - wanted)))
    return tuple(steps)

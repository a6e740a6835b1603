"""Lists of full steps: written by hand, or spread by a rule."""

from __future__ import annotations

LIST_FORM = r"\s*\d+\s*(-\s*\d+\s*)?(,\s*\d+\s*(-\s*\d+\s*)?)*"
"""Regular expression of a list such as `0-3, 5, 8`."""


def listed_steps(text: str) -> tuple[int, ...]:
    """Return the steps of a list such as `0-3, 5, 8`, in order and each once; `text` has `LIST_FORM`."""
    spans = [part.split("-") for part in text.split(",")]
    return tuple(sorted({step for span in spans for step in range(int(span[0]), int(span[-1]) + 1)}))


def spread_steps(num_steps: int, num_full: int, bend: float) -> tuple[int, ...]:
    """Return `num_full` of `num_steps` steps that lie close together early and ever further apart later.

    The k-th is at (num_steps - 2) * (k / (num_full - 1)) ** bend, rounded, or at the next one that is free: the first step
    is always there, and the last one never unless all are, because nothing follows that could profit from it. `bend` 1
    spreads them evenly.

    The lists that were searched on Flux and on Qwen-Image (methods of the Golden Path study, arXiv:2609.39343) have this form.
    """
    if num_full >= num_steps:
        return tuple(range(num_steps))
    steps = [0]
    for k in range(1, num_full):
        steps.append(max(steps[-1] + 1, round((num_steps - 2) * (k / (num_full - 1)) ** bend)))
    return tuple(steps)

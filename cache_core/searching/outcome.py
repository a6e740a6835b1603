"""What a search found: what to save, to show and to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch

from ..artefact import Architecture, Artefact, Kind, Sampling, Scalar
from ..chart import Chart, Graph, HeatMap, Series
from .lists import Steps
from .record import SMALLEST
from .search import Search, Try

Unit = Literal["pictures", "latents"]
"""What was compared."""

METHOD = "step_list"
"""Name of the method that follows such a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A way to sample with as many full steps, and its error on pictures that the search did not see.

    Attributes:
        name: What it is called in the text.
        key: What it is called in the file.
        error: Of the final latents or of the pictures.
    """

    name: str
    key: str
    error: float


def artefact_of(
    best: Try,
    architecture: Architecture,
    sampling: Sampling,
    made: Mapping[str, Scalar],
    refresh_ratio: float,
    rivals: Sequence[Rival] = (),
) -> Artefact:
    """Return the artefact of a list.

    Args:
        best: The list, and its error on the pictures that it was searched on.
        architecture: Fingerprint at level MODEL.
        sampling: The settings of the runs.
        made: How it was made.
        refresh_ratio: Calls that are computed over all.
        rivals: Errors on other pictures, its own among them; none where the search was stopped.
    """
    compute = torch.zeros(sampling.num_steps or 0, len(architecture.sites), dtype=torch.bool)
    compute[list(best.steps)] = True
    return Artefact(
        kind=Kind.STEPS,
        method=METHOD,
        architecture=architecture,
        sampling=sampling,
        tensors={"compute": compute},
        made=made,
        measured={"refresh_ratio": refresh_ratio, "error_when_searched": best.error}
        | {f"error_{rival.key}": rival.error for rival in rivals},
    )


def charts(search: Search, num_steps: int, unit: Unit) -> tuple[Chart, ...]:
    """Return the steps of the best list so far and of those it began with, and the errors of all tries."""
    lists = search.starts | ({} if search.best is None else {"best so far": search.best.steps})
    values = torch.zeros(len(lists), num_steps)
    for row, steps in enumerate(lists.values()):
        values[row, list(steps)] = 1.0
    shown = HeatMap(title="Full steps (light) and steps left out (dark)", rows=tuple(lists), values=values)
    return (shown, _errors(search.tries, unit))


def table(rivals: Sequence[Rival], unit: Unit) -> str:
    """Return the errors of `rivals`, one line each."""
    return "\n".join(f"{rival.name}: {told(rival.error, unit)}" for rival in rivals)


def told(error: float, unit: Unit) -> str:
    """Return an error in decibels: of pictures their PSNR, of latents what it is below them, and in per cent."""
    decibels = f"{-20 * math.log10(max(error, SMALLEST)):.1f} dB"
    return f"PSNR {decibels}" if unit == "pictures" else f"{error:.2%} of the latents, {decibels} below them"


def written(steps: Steps) -> str:
    """Return a list as it is written into `steps` of the method."""
    return ", ".join(map(str, steps))


def _errors(tries: Sequence[Try], unit: Unit) -> Graph:
    numbers, errors = range(1, len(tries) + 1), [100 * one.error for one in tries]
    return Graph(
        title=f"Error of the {unit}, over the lists tried",
        x_label="list",
        y_label="error in %",
        series=(
            Series(name="each list", x=tuple(numbers), y=tuple(errors)),
            Series(name="best so far", x=tuple(numbers), y=tuple(accumulate(errors, min)), is_line=True),
        ),
    )

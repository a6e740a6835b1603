"""What a search found: what to save, to show and to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from ..artefact import Architecture, Artefact, Kind, Sampling, Scalar
from ..chart import Graph, HeatMap, Series
from .lists import Steps, computed
from .record import SMALLEST, is_nearer, typical
from .search import Try, better

Unit = Literal["pictures", "latents"]
"""What was compared."""

METHODS: Mapping[Kind, str] = {Kind.STEPS: "step_list", Kind.MASK: "mask"}
"""Name of the method that follows a file of each kind."""

FOUND = "found"
"""Key of what was found among its rivals."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A way to sample at the same cost, and the error of each picture that the search did not see.

    Attributes:
        name: What it is called in the text.
        key: What it is called in the file.
        errors: Of the final latents or of the pictures.
    """

    name: str
    key: str
    errors: tuple[float, ...]

    @cached_property
    def error(self) -> float:
        """The typical error."""
        return typical(torch.tensor(self.errors))


def artefact_of(
    kind: Kind,
    compute: Tensor,
    architecture: Architecture,
    sampling: Sampling,
    made: Mapping[str, Scalar],
    measured: Mapping[str, float],
    rivals: Sequence[Rival] = (),
) -> Artefact:
    """Return the artefact of a list of full steps or of a mask.

    Args:
        kind: STEPS or MASK.
        compute: (T, S) bool.
        architecture: Fingerprint at the level of the S sites.
        sampling: The settings of the runs.
        made: How it was made.
        measured: What is computed, and the error on the pictures that it was searched on.
        rivals: Errors on other pictures, its own among them; none where the search was stopped.
    """
    return Artefact(
        kind=kind,
        method=METHODS[kind],
        architecture=architecture,
        sampling=sampling,
        tensors={"compute": compute},
        made=made,
        measured={**measured, **{f"error_{rival.key}": rival.error for rival in rivals}},
    )


def picture_of_lists(lists: Mapping[str, Steps], num_steps: int) -> HeatMap:
    """Return the steps of some lists, by name."""
    shown = computed(list(lists.values()), num_steps)
    return HeatMap(
        title="Full steps (light) and steps left out (dark)", rows=tuple(lists), values=shown.T.float()
    )


def picture_of_mask(sites: Sequence[str], compute: Tensor) -> HeatMap:
    """Return what a mask computes: (T, S) bool."""
    return HeatMap(title="Computed (light) and reused (dark)", rows=sites, values=compute.T.float())


def picture_of_errors(tries: Sequence[Try[Any]], unit: Unit) -> Graph:
    """Return the errors of all tries, and of the best so far."""
    numbers, best = range(1, len(tries) + 1), accumulate(tries, better)
    return Graph(
        title=f"Error of the {unit}, over the plans tried",
        x_label="plan",
        y_label="error in %",
        series=(
            Series(name="each plan", x=tuple(numbers), y=tuple(100 * one.error for one in tries)),
            Series(
                name="best so far", x=tuple(numbers), y=tuple(100 * one.error for one in best), is_line=True
            ),
        ),
    )


def table(rivals: Sequence[Rival], unit: Unit) -> str:
    """Return the errors of `rivals`, one line each."""
    return "\n".join(f"{rival.name}: {told(rival.error, unit)}" for rival in rivals)


def verdict(rivals: Sequence[Rival]) -> str:
    """Return which way is nearest to the uncached pictures, and whether chance may have decided."""
    [found] = [rival for rival in rivals if rival.key == FOUND]
    others = [rival for rival in rivals if rival.key != FOUND]
    other = min(others, key=lambda rival: rival.error)
    if found.error == other.error:
        return f"{found.name} is as near as {other.name}"
    nearer, further = (found, other) if found.error < other.error else (other, found)
    is_sure = len(found.errors) > 1 and is_nearer(torch.tensor(nearer.errors), torch.tensor(further.errors))
    doubt = "beyond the standard error" if is_sure else "which may be chance: so few pictures do not tell"
    return f"{nearer.name} is nearer than {further.name}, {doubt}"


def told(error: float, unit: Unit) -> str:
    """Return an error in decibels: of pictures their PSNR, of latents what it is below them, and in per cent."""
    decibels = f"{-20 * math.log10(max(error, SMALLEST)):.1f} dB"
    return f"PSNR {decibels}" if unit == "pictures" else f"{error:.2%} of the latents, {decibels} below them"


def written(steps: Steps) -> str:
    """Return a list as it is written into `steps` of the method."""
    return ", ".join(map(str, steps))

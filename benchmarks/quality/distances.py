"""Frechet distances of the headline cells: to the data, to the uncached pictures, and what a correction changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metrics.frechet import Gaussian, fit_gaussian, frechet_difference, frechet_distance
from metrics.intervals import Interval
from metrics.study.store import batches, read_all, record_path

from .cells import DATA, UNCACHED, Cell, data
from .code import key_of
from .results import Array, floats
from .work import HEADLINE_BATCH


@dataclass(frozen=True)
class Distance:
    """A headline cell's Frechet distances over many seeds.

    Attributes:
        to_data: Distance to the scenes that the captions describe.
        excess: That minus the uncached run's, paired by seed.
        to_uncached: Distance to the uncached pictures.
        change_to_data: Of a corrected cell, paired by seed: distance to the data minus that of the bare one.
        change_to_uncached: The same to the uncached pictures.
        bare: Both distances of the bare cell, or None.
    """

    name: str
    label: str
    num_samples: int
    to_data: float
    excess: Interval
    to_uncached: float
    change_to_data: Interval | None
    change_to_uncached: Interval | None
    bare: tuple[float, float] | None


def distances(folder: Path, chosen: Sequence[Cell], num_samples: int) -> list[Distance]:
    """The headline cells that have all records, in the order of the cells; none without the data's and the uncached run's."""
    found = summaries(folder, chosen, num_samples)
    if DATA not in found or UNCACHED not in found:
        return []
    scenes, plain = fit_gaussian(found[DATA]), fit_gaussian(found[UNCACHED])
    return [_distance(cell, found, scenes, plain) for cell in chosen if cell.name in found]


def summaries(folder: Path, chosen: Sequence[Cell], num_samples: int) -> dict[str, Array]:
    """By name (N, F) features of the data and of the headline cells that have all records."""
    seeds = batches(num_samples, HEADLINE_BATCH)
    names = {cell.name: f"summary_{key_of(cell)}" for cell in (data(), *chosen) if cell.is_headline}
    return {
        name: floats(read_all(folder, kept, seeds)["summary"])
        for name, kept in names.items()
        if seeds and all(record_path(folder, kept, batch).is_file() for batch in seeds)
    }


def _distance(cell: Cell, found: Mapping[str, Array], scenes: Gaussian, plain: Gaussian) -> Distance:
    summary, bare = found[cell.name], found.get(cell.against)
    own = fit_gaussian(summary)
    return Distance(
        name=cell.name,
        label=cell.label,
        num_samples=len(summary),
        to_data=float(frechet_distance(scenes, own)),
        excess=frechet_difference(summary, found[UNCACHED], scenes),
        to_uncached=float(frechet_distance(plain, own)),
        change_to_data=None if bare is None else frechet_difference(summary, bare, scenes),
        change_to_uncached=None if bare is None else frechet_difference(summary, bare, plain),
        bare=None
        if bare is None
        else (
            float(frechet_distance(scenes, fit_gaussian(bare))),
            float(frechet_distance(plain, fit_gaussian(bare))),
        ),
    )

"""Frechet distances to the data at the headline setting: many pictures, of which only the classifier's summaries are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metrics.frechet import fit_gaussian, frechet_difference, frechet_distance
from metrics.intervals import Interval
from metrics.study.cells import Cell as Setting
from metrics.study.store import batches, read_record
from numpy import concatenate

from ..cells import DATA, FEWER_STEPS, UNCACHED, Cell, data
from ..results import Array, floats
from ..work import HEADLINE_BATCH
from .front import DEFAULT, all_cells, uncached
from .jobs import Summarise
from .plans import Plan
from .settings import FIRST_SEED

HEADLINE = Setting("euler", 20, 4.0)
SPEEDUPS = (1.5, 2.0)
"""Of what this project recommends, and of fewer steps."""


@dataclass(frozen=True, kw_only=True)
class Distance:
    """A cell's distance to the scenes that the captions describe.

    Attributes:
        value: In the squared unit of the classifier's summaries.
        excess: That minus the uncached run's, paired by seed.
        plain: The uncached run's.
    """

    family: str
    title: str
    label: str
    num_samples: int
    value: float
    excess: Interval
    plain: float


def summaries(plan: Plan) -> list[Summarise]:
    """The batches that lack their summaries; none outside the headline setting."""
    if plan.setting != HEADLINE:
        return []
    found = [(data(), 0), *((cell, plan.passes(cell)) for cell in (uncached(plan.setting), *_cells(plan)))]
    return [
        Summarise(plan, seeds, f"summary_{cell.name}", len(seeds) * passes, cell)
        for seeds in _seeds(plan)
        for cell, passes in found
        if not plan.summary(cell, seeds).is_file()
    ]


def distances(plan: Plan, family: str) -> list[Distance]:
    """The distances of what this project recommends and of fewer steps; none before all is drawn."""
    if plan.setting != HEADLINE or summaries(plan) or not plan.size.samples:
        return []
    cells = _cells(plan)
    drawn = {cell.name: _read(plan, cell) for cell in (data(), uncached(plan.setting), *cells)}
    scenes, plain = fit_gaussian(drawn[DATA]), drawn[UNCACHED]
    titles = {cell.name: front.title for front in plan.fronts for cell in front.cells}
    return [
        Distance(
            family=family,
            title=titles[cell.name],
            label=cell.label,
            num_samples=len(plain),
            value=float(frechet_distance(scenes, fit_gaussian(drawn[cell.name]))),
            excess=frechet_difference(drawn[cell.name], plain, scenes),
            plain=float(frechet_distance(scenes, fit_gaussian(plain))),
        )
        for cell in cells
    ]


def _cells(plan: Plan) -> Sequence[Cell]:
    steps = {round(HEADLINE.steps / speedup) for speedup in SPEEDUPS}
    return [
        cell
        for cell in all_cells(plan.fronts)
        if (cell.method == FEWER_STEPS and cell.steps in steps)
        or (cell.method == DEFAULT and dict(cell.settings)["speedup"] in SPEEDUPS)
    ]


def _seeds(plan: Plan) -> list[range]:
    found = batches(plan.size.samples, HEADLINE_BATCH)
    return [range(FIRST_SEED + one.start, FIRST_SEED + one.stop) for one in found]


def _read(plan: Plan, cell: Cell) -> Array:
    return concatenate([floats(read_record(plan.summary(cell, seeds))["summary"]) for seeds in _seeds(plan)])

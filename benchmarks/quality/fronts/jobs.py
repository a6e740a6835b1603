"""What is still to be done in a setting: calibrations, then thresholds and searches, then pictures."""

from __future__ import annotations

from dataclasses import dataclass

from ..cells import Cell
from .front import SEARCHED, Front, all_cells, uncached
from .kit import CALIBRATED
from .plans import Plan
from .tuning import NUM_HALVINGS

_TUNING_SHARE = 0.45
"""About the part of the work that the runs of a threshold's search do."""


@dataclass(frozen=True)
class Job:
    """What a process can do: `kind` says what with."""

    plan: Plan
    seeds: range
    record: str
    num_passes: int

    is_headline = False


@dataclass(frozen=True)
class Calibrate(Job):
    """Make an artefact, whose name is `record`."""


@dataclass(frozen=True)
class Tune(Job):
    """Find a front's thresholds."""

    front: Front


@dataclass(frozen=True)
class Search(Job):
    """Find the best few noise levels."""

    num_steps: int


@dataclass(frozen=True)
class Measure(Job):
    """Draw and measure a cell for one batch of seeds."""

    front: Front | None
    cell: Cell


@dataclass(frozen=True)
class Summarise(Job):
    """Draw a cell for one batch of many seeds, and keep what a Frechet distance needs."""

    cell: Cell

    is_headline = True


def calibrations(plan: Plan) -> list[Calibrate]:
    """The artefacts that are missing."""
    cells = all_cells(plan.fronts)
    needed = {name for cell in cells for name in (cell.artefact, cell.correction_artefact) if name}
    missing = [name for name in CALIBRATED if name in needed and not plan.place.artefact(name).is_file()]
    return [
        Calibrate(
            plan,
            plan.tuning_seeds(list(CALIBRATED).index(name), CALIBRATED[name]),
            name,
            plan.setting.num_passes * CALIBRATED[name],
        )
        for name in missing
    ]


def preparations(plan: Plan) -> list[Job]:
    """The thresholds and searches that are missing."""
    found: list[Job] = []
    for number, front in enumerate(plan.fronts, len(CALIBRATED)):
        if (
            front.knob is not None
            and not plan.thresholds(front).is_file()
            and not plan.error(front).is_file()
        ):
            seeds = plan.tuning_seeds(number, plan.size.tuning)
            runs = NUM_HALVINGS * len(front.cells) * _TUNING_SHARE * len(seeds)
            found.append(Tune(plan, seeds, front.name, round(runs * plan.setting.num_passes), front))
        if front.name == SEARCHED:
            found += _searches(plan, front, number)
    return found


def _searches(plan: Plan, front: Front, number: int) -> list[Job]:
    seeds = plan.tuning_seeds(number, plan.size.searching)
    return [
        Search(
            plan,
            seeds,
            f"{SEARCHED}_{cell.steps}",
            plan.size.runs * len(seeds) * plan.passes(cell),
            cell.steps,
        )
        for cell in front.cells
        if not plan.searched(cell.steps).is_file()
    ]


def measurements(plan: Plan) -> list[Measure]:
    """The cells of every batch of seeds that lack their record, the uncached run first."""
    cells: list[tuple[Front | None, Cell]] = [(None, uncached(plan.setting))]
    cells += [(front, cell) for front in plan.fronts for cell in plan.distinct(front)]
    return [
        Measure(plan, seeds, cell.name, len(seeds) * plan.passes(cell), front, cell)
        for seeds in plan.batches()
        for front, cell in cells
        if not plan.record(cell, seeds).is_file() and not (front and plan.error(front).is_file())
    ]

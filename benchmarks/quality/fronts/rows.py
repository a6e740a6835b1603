"""From records to rows of numbers: means with intervals, and each way to sample against every front at equal cost and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from metrics.intervals import Interval, mean_interval
from metrics.study.store import Record, read_record

from ..cells import Cell
from ..results import Array, floats, rival
from ..timing import Timed
from .front import DEFAULT, Front, all_cells
from .kit import read_json
from .names import SPEEDUPS
from .plans import Plan
from .timing import timed

MEASURES = ("psnr", "perceptual", "latent_error")
AXES = ("cost", "time")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell against the uncached run of the same seeds.

    Attributes:
        knob: The threshold or list of steps that it was drawn with.
        seconds: Median seconds of a picture; None where nothing was timed.
        time: Median of a picture's time over that of the uncached run.
        time_range: Least and most of the same.
        measures: Means with intervals; empty where all pictures are identical.
        num_identical: Seeds whose picture is the uncached run's; they are left out of the means.
    """

    family: str
    sampler: str
    steps: int
    cfg: float
    front: str
    title: str
    origin: str
    cell: str
    label: str
    knob: str
    num_seeds: int
    num_identical: int
    refresh: float
    cost: float
    seconds: float | None
    time: float | None
    time_range: tuple[float, float] | None
    measures: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Duel:
    """A way to sample of what this project recommends against a front, read off where it costs the same.

    Attributes:
        speedup: Which of ours: one step in so many is computed.
        axis: "cost" or "time".
        at: Cost or time ratio of ours.
        psnr: Mean of ours, in dB.
        rival_at: Where the front is read: the same, or its cheapest if that costs more.
        rival_psnr: Mean of the front there, interpolated for each seed between its two nearest cells.
        gain: Ours minus the front, paired by seed.
    """

    family: str
    sampler: str
    steps: int
    cfg: float
    speedup: float
    axis: str
    at: float
    front: str
    title: str
    origin: str
    psnr: float
    rival_at: float
    rival_psnr: float
    gain: Interval


@dataclass(frozen=True)
class Table:
    """The records of one setting, read once: by the cell's name what was measured and timed."""

    plan: Plan
    records: Mapping[str, Record]
    times: Mapping[str, Sequence[Timed]]

    def ratio(self, cell: Cell) -> float | None:
        """A cell's time over that of the uncached run."""
        found = [one.ratio for one in self.times[cell.name]]
        return median(found) if found else None

    def place(self, cell: Cell, axis: str) -> float | None:
        """Where a cell stands on an axis."""
        return self.ratio(cell) if axis == "time" else fmean(self.records[cell.name]["cost"].tolist())


def read_table(plan: Plan, clock: str) -> Table:
    """Read what has been measured of every cell for all seeds."""
    cells = all_cells(plan.fronts)
    records = {}
    for cell in cells:
        paths = [plan.record(cell, seeds) for seeds in plan.batches()]
        if all(path.is_file() for path in paths):
            parts = [read_record(path) for path in paths]
            records[cell.name] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Table(plan, records, timed(plan, cells, clock))


def rows(table: Table, family: str) -> list[Row]:
    """The rows of a setting, front by front."""
    return [
        _row(table, family, front, cell)
        for front in table.plan.fronts
        for cell in table.plan.distinct(front)
        if cell.name in table.records
    ]


def _row(table: Table, family: str, front: Front, cell: Cell) -> Row:
    record, times, setting = table.records[cell.name], table.times[cell.name], table.plan.setting
    finite = np.isfinite(floats(record["psnr"]))
    ratios = [one.ratio for one in times]
    return Row(
        family=family,
        sampler=setting.sampler,
        steps=setting.steps,
        cfg=setting.cfg,
        front=front.name,
        title=front.title,
        origin=front.origin,
        cell=cell.name,
        label=cell.label,
        knob=_knob(table.plan, front, cell),
        num_seeds=len(finite),
        num_identical=int((~finite).sum()),
        refresh=fmean(record["refresh"].tolist()),
        cost=fmean(record["cost"].tolist()),
        seconds=median(one.seconds for one in times) if times else None,
        time=table.ratio(cell),
        time_range=(min(ratios), max(ratios)) if ratios else None,
        measures={name: mean_interval(floats(record[name])[finite]) for name in MEASURES if finite.sum() > 1},
    )


def _knob(plan: Plan, front: Front, cell: Cell) -> str:
    """What a cell was tuned to, in words."""
    if cell.tuned[0]:
        value = read_json(plan.thresholds(front))["thresholds"][cell.tuned[1]]
        return f"{cell.tuned[0]}={value:.4g}"
    if plan.searched(cell.steps).is_file() and cell.method == "searched_steps":
        return " ".join(map(str, read_json(plan.searched(cell.steps))["indices"]))
    return ""


def duels(table: Table, family: str) -> Iterator[Duel]:
    """What this project recommends against every other front, on both axes."""
    [ours] = [front for front in table.plan.fronts if front.name == DEFAULT]
    for cell in ours.cells:
        if cell.name not in table.records or dict(cell.settings)["speedup"] not in SPEEDUPS:
            continue
        for front in table.plan.fronts:
            for axis in AXES if front.name != DEFAULT else ():
                yield from _duel(table, family, cell, front, axis)


def _duel(table: Table, family: str, cell: Cell, front: Front, axis: str) -> Iterator[Duel]:
    setting = table.plan.setting
    at = table.place(cell, axis)
    curve: dict[float, Array] = {}
    for other in front.cells:
        position = table.place(other, axis) if other.name in table.records else None
        if position is not None:
            curve[position] = floats(table.records[other.name]["psnr"])
    if at is None or not curve:
        return
    scores = floats(table.records[cell.name]["psnr"])
    # A rival that cannot be as cheap is read where it is cheapest: it then costs more than ours, which is in its favour.
    there = max(at, min(curve))
    found = rival(scores, there, curve)
    if found is not None:
        yield Duel(
            family=family,
            sampler=setting.sampler,
            steps=setting.steps,
            cfg=setting.cfg,
            speedup=float(dict(cell.settings)["speedup"]),
            axis=axis,
            at=at,
            front=front.name,
            title=front.title,
            origin=front.origin,
            psnr=found.psnr + found.gain.value,
            rival_at=there,
            rival_psnr=found.psnr,
            gain=found.gain,
        )

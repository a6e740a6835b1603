"""From records to rows: means with intervals, beside fewer steps at equal cost and at equal time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import numpy as np
from metrics.intervals import Interval, mean_interval
from metrics.study.measure import MEASURES
from metrics.study.store import Record, batches, read_all, record_path
from numpy.typing import NDArray

from .cells import FEWER_STEPS, NUM_STEPS, UNCACHED, Cell
from .code import key_of
from .timing import Timed, read_timings
from .work import GRID_BATCH

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rival:
    """Fewer steps that cost as much as a cell, read off between the two nearest measured numbers of steps.

    Attributes:
        steps: How many; not whole where it lies between two.
        psnr: Mean of that many steps, in dB, interpolated linearly per seed.
        gain: PSNR of the cell minus this, paired by seed.
    """

    steps: float
    psnr: float
    gain: Interval


@dataclass(frozen=True)
class Row:
    """A cell against the uncached run of the same seeds.

    Attributes:
        refresh: Measured refresh ratio, mean over the seeds; equal to the predicted one, or nothing would be here.
        cost: Measured cost ratio, mean over the seeds.
        seconds: Median seconds of a picture; None where nothing was timed.
        time: Median over pictures of time over that of the uncached run of the same picture.
        time_range: Least and most of the same.
        measures: Means with intervals; a measure of identical pictures only is left out.
        num_identical: Seeds whose picture is that of the uncached run; they are left out of PSNR.
        at_cost: Fewer steps of equal cost; None beyond the measured numbers of steps.
        at_time: Fewer steps of equal time.
    """

    name: str
    label: str
    group: str
    method: str
    refresh: float
    cost: float
    seconds: float | None
    time: float | None
    time_range: tuple[float, float] | None
    measures: dict[str, Interval]
    num_identical: int
    at_cost: Rival | None
    at_time: Rival | None


@dataclass(frozen=True)
class Match:
    """A dynamic cell against TeaCache's unfitted indicator at the same refresh ratio, read off between its settings.

    Attributes:
        name: Of the cell.
        number: Of its threshold in the kit.
        rival: Steps are calls computed; None beyond the settings that were measured.
    """

    name: str
    number: str
    rival: Rival | None


def rows(folder: Path, chosen: Sequence[Cell], num_seeds: int, num_pictures: int, clock: str) -> list[Row]:
    """The rows of all cells but the uncached run that have all records, in the order of the cells."""
    records = complete(folder, chosen, num_seeds)
    timings = read_timings(folder, chosen, num_pictures, clock)
    curve: dict[float, Array] = {
        cell.steps: floats(records[cell.name]["psnr"])
        for cell in chosen
        if cell.method == FEWER_STEPS and cell.name in records
    }
    pace = {
        cell.steps: median(one.ratio for one in timings[cell.name])
        for cell in chosen
        if cell.method == FEWER_STEPS and timings[cell.name] and cell.steps in curve
    }
    return [
        _row(cell, records[cell.name], timings[cell.name], curve, pace)
        for cell in chosen
        if cell.name in records and cell.num_seeds is None
    ]


def complete(folder: Path, chosen: Sequence[Cell], num_seeds: int) -> dict[str, Record]:
    """The records of the cells that have one for every seed, but for the uncached run, which has no measures."""
    seeds = batches(num_seeds, GRID_BATCH)
    kept = {cell.name: key_of(cell) for cell in chosen if cell.name != UNCACHED}
    return {
        name: read_all(folder, key, seeds)
        for name, key in kept.items()
        if all(record_path(folder, key, batch).is_file() for batch in seeds)
    }


def _row(
    cell: Cell,
    record: Record,
    timed: Sequence[Timed],
    curve: Mapping[float, Array],
    pace: Mapping[int, float],
) -> Row:
    scores = floats(record["psnr"])
    finite = np.isfinite(scores)
    measures = {
        name: mean_interval(floats(record[name])[finite])
        for name in MEASURES
        if name in record and finite.sum() > 1
    }
    cost = fmean(record["cost"].tolist())
    ratio = median(one.ratio for one in timed) if timed else None
    is_fewer = cell.method == FEWER_STEPS
    return Row(
        name=cell.name,
        label=cell.label,
        group=cell.group,
        method=cell.method,
        refresh=fmean(record["refresh"].tolist()),
        cost=cost,
        seconds=median(one.seconds for one in timed) if timed else None,
        time=ratio,
        time_range=(min(one.ratio for one in timed), max(one.ratio for one in timed)) if timed else None,
        measures=measures,
        num_identical=int((~finite).sum()),
        at_cost=None if is_fewer else rival(scores, cost * NUM_STEPS, curve),
        at_time=None if is_fewer or ratio is None else rival(scores, steps_as_long(ratio, pace), curve),
    )


def rival(scores: Array, steps: float | None, curve: Mapping[float, Array]) -> Rival | None:
    """Fewer steps of some number against a cell.

    Args:
        scores: (N,) PSNR of the cell, one per seed.
        steps: How many fewer steps; need not be whole. None gives None.
        curve: PSNR (N,) of the same seeds by measured number of steps.

    Returns:
        The comparison; None where `steps` is not between the least and the most that were measured.
    """
    if steps is None or not curve or not min(curve) <= steps <= max(curve):
        return None
    known = sorted(curve)
    upper = next(number for number in known if number >= steps)
    lower = max(number for number in known if number <= steps)
    weight = 0.0 if upper == lower else (steps - lower) / (upper - lower)
    expected = (1 - weight) * curve[lower] + weight * curve[upper]
    both = np.isfinite(scores) & np.isfinite(expected)
    if both.sum() < 2:
        return None
    return Rival(steps, float(expected[both].mean()), mean_interval((scores - expected)[both]))


def matches(folder: Path, chosen: Sequence[Cell], num_seeds: int) -> list[Match]:
    """The dynamic cells whose threshold was found, the unfitted ones first."""
    found = [cell for cell in chosen if cell.is_dynamic and cell.tuned[1]]
    records = complete(folder, found, num_seeds)
    dynamic = [cell for cell in chosen if cell.name in records]
    scores = {name: floats(record["psnr"]) for name, record in records.items()}
    calls = {name: NUM_STEPS * fmean(record["refresh"].tolist()) for name, record in records.items()}
    curve = {calls[name]: scores[name] for name in scores if "identity" in name}
    order = sorted(dynamic, key=lambda cell: ("identity" not in cell.name, cell.method != "teacache"))
    return [
        Match(cell.name, cell.tuned[1], rival(scores[cell.name], calls[cell.name], curve)) for cell in order
    ]


def steps_as_long(ratio: float, pace: Mapping[int, float]) -> float | None:
    """The number of steps, not whole, that takes `ratio` of the uncached time, by those that were timed; None beyond."""
    known = sorted(pace.items())
    for (lower, short), (upper, long) in pairwise(known):
        if short <= ratio <= long:
            return lower + (upper - lower) * (ratio - short) / (long - short)
    return None


def floats(values: NDArray[np.float64] | NDArray[np.float32]) -> Array:
    """Numbers of a record in float64."""
    return values.astype(np.float64)

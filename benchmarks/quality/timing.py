"""Time of every cell, picture by picture and one at a time, each beside uncached runs of the same picture.

Wall time; or, where other programs keep the machine busy, the time that the one computing thread itself ran, which is the
same on an idle machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
from metrics.study.cells import Cell as Requested
from metrics.study.cells import requests
from metrics.study.store import read_record, record_path, write_record
from tqdm import tqdm
from zoo.sampling import sample_latents

from .cells import CFG, FEWER_STEPS, SAMPLER, UNCACHED, Cell
from .code import key_of
from .sampling import cached, drawn_by
from .work import Hand

CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "thread": time.thread_time}
FIRST_SEED = 200_000
"""Pictures that are not measured otherwise; the first warms up."""
BESIDE = 4
"""Cells between two uncached runs."""


@dataclass(frozen=True)
class Timed:
    """One cell on one picture: seconds, and those over the mean of the uncached runs before and after."""

    seconds: float
    ratio: float


def time_pictures(hand: Hand, cells: Sequence[Cell], num_pictures: int, clock: str) -> None:
    """Time every cell on some pictures; what was timed before is kept, and only what lacks its time is timed.

    Args:
        hand: With the models loaded and single-threaded; nothing else of ours should run.
        cells: All cells.
        num_pictures: How many.
        clock: One of `CLOCKS`.
    """
    runs = {key_of(cell): _runner(hand, cell) for cell in cells if cell.num_seeds is None}
    for number in tqdm(range(num_pictures), desc=f"{hand.bench.folder.name}: timing", mininterval=5):
        path = timing_path(hand.bench.folder, clock, number)
        known = read_record(path) if path.is_file() else {}
        missing = [name for name in runs if name != UNCACHED and name not in known]
        if not missing:
            continue
        seed = FIRST_SEED + number
        for name in (UNCACHED, missing[0], UNCACHED):
            runs[name](seed)
        order = missing if number % 2 else missing[::-1]
        timed = beside(order, lambda name, seed=seed: _seconds(runs[name], seed, CLOCKS[clock]))
        write_record(path, known | {name: np.array([one.seconds, one.ratio]) for name, one in timed.items()})


def beside(order: Sequence[str], seconds: Callable[[str], float]) -> dict[str, Timed]:
    """Time each name between uncached runs, one of which comes before every few and one at the end.

    Args:
        order: Names other than the uncached run's, which is added to the result with their mean.
        seconds: Runs the named cell and returns how long it took.
    """
    groups = [order[start : start + BESIDE] for start in range(0, len(order), BESIDE)]
    plain, between = [seconds(UNCACHED)], []
    for group in groups:
        between.append({name: seconds(name) for name in group})
        plain.append(seconds(UNCACHED))
    timed = {UNCACHED: Timed(fmean(plain), 1.0)}
    for group_seconds, around in zip(between, pairwise(plain), strict=True):
        timed |= {name: Timed(spent, spent / fmean(around)) for name, spent in group_seconds.items()}
    return timed


def read_timings(
    folder: Path, cells: Iterable[Cell], num_pictures: int, clock: str
) -> dict[str, list[Timed]]:
    """What was timed of each cell by name, picture by picture; nothing of cells that were not."""
    keys = {cell.name: key_of(cell) for cell in cells}
    found: dict[str, list[Timed]] = {name: [] for name in keys}
    for number in range(num_pictures):
        path = timing_path(folder, clock, number)
        record = read_record(path) if path.is_file() else {}
        for name, key in keys.items():
            if key in record:
                found[name].append(Timed(*map(float, record[key])))
    return found


def timing_path(folder: Path, clock: str, number: int) -> Path:
    """Where what a clock showed on a picture is kept."""
    return record_path(folder, f"timing_{clock}", range(number, number + 1))


def _runner(hand: Hand, cell: Cell) -> Callable[[int], object]:
    pipeline = hand.bench.pipeline
    if cell.method not in (UNCACHED, FEWER_STEPS):
        pipeline = drawn_by(pipeline, cached(hand.kit, pipeline, cell))
    asked = Requested(SAMPLER, cell.steps, CFG)
    return lambda seed: sample_latents(pipeline, requests(asked, [seed]))


def _seconds(run: Callable[[int], object], seed: int, clock: Callable[[], float]) -> float:
    started = clock()
    run(seed)
    return clock() - started

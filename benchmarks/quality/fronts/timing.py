"""Time of every cell, one picture at a time, each beside uncached runs of the same picture; see `quality.timing`.

What was timed before is kept, cell by cell, so that an interrupted run goes on and a new contender is timed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from metrics.study.store import read_record, record_path, write_record

from ..cells import UNCACHED, Cell
from ..sampling import drawn_by
from ..timing import CLOCKS, FIRST_SEED, Timed, beside
from .code import code_of
from .drawing import draw_latents
from .front import reference
from .plans import Plan
from .running import carried, levels_of
from .work import Hand


@torch.inference_mode()
def time_pictures(hand: Hand, plan: Plan, clock: str) -> None:
    """Time every cell of a setting on the pictures that its size says.

    Args:
        hand: With the models loaded and single-threaded; nothing else of ours should run.
        plan: Of the setting.
        clock: One of `CLOCKS`.
    """
    for number in range(plan.size.pairs):
        missing = untimed(plan, clock, number)
        if not missing:
            continue
        for own in dict.fromkeys(reference(plan.setting, cell) for cell in missing):
            cells = [cell for cell in missing if reference(plan.setting, cell) == own]
            _time_beside(hand, plan, clock, number, own, cells)


def _time_beside(hand: Hand, plan: Plan, clock: str, number: int, own: Cell, cells: Sequence[Cell]) -> None:
    """Time cells on one picture beside the uncached run of their network, and keep it."""
    runs = {UNCACHED: _runner(hand, plan, own)}
    runs |= {key_of(cell, plan): _runner(hand, plan, cell) for cell in cells}
    order = [name for name in runs if name != UNCACHED]
    seed = FIRST_SEED + number
    for name in (UNCACHED, order[0], UNCACHED):
        runs[name](seed)
    found = beside(order, partial(_seconds, runs, seed, CLOCKS[clock]))
    found[own.name] = found.pop(UNCACHED)
    path = timing_path(plan, clock, number)
    known = read_record(path) if path.is_file() else {}
    write_record(path, known | {name: np.array([one.seconds, one.ratio]) for name, one in found.items()})


def untimed(plan: Plan, clock: str, number: int) -> list[Cell]:
    """The cells that lack the time of a picture; packs of others that failed are left out."""
    path = timing_path(plan, clock, number)
    known = set(read_record(path)) if path.is_file() else set()
    able = [front for front in plan.fronts if not plan.error(front).is_file()]
    return [cell for front in able for cell in plan.distinct(front) if key_of(cell, plan) not in known]


def timed(plan: Plan, cells: Sequence[Cell], clock: str) -> dict[str, list[Timed]]:
    """By name of the cell what was timed, picture by picture."""
    found: dict[str, list[Timed]] = {cell.name: [] for cell in cells}
    keys = {cell.name: key_of(cell, plan) for cell in cells}
    for number in range(plan.size.pairs):
        path = timing_path(plan, clock, number)
        record = read_record(path) if path.is_file() else {}
        for name, key in keys.items():
            if key in record:
                found[name].append(Timed(*map(float, record[key])))
    return found


def key_of(cell: Cell, plan: Plan) -> str:
    """What a cell's time is kept under: with the sum of its code, as its pictures are."""
    return f"{cell.name}_{code_of(cell, plan.size)}"


def timing_path(plan: Plan, clock: str, number: int) -> Path:
    """Where what a clock showed on a picture is kept."""
    return record_path(plan.place.records, f"timing_{clock}", range(number, number + 1))


def _runner(hand: Hand, plan: Plan, cell: Cell) -> Callable[[int], object]:
    kit, pipeline = hand.kit(plan), hand.pipeline_for(cell)
    levels = levels_of(kit, pipeline, cell)
    drawing = drawn_by(pipeline, carried(kit, pipeline, cell, hand.family))
    return lambda seed: draw_latents(drawing, plan.setting, [seed], levels)


def _seconds(
    runs: Mapping[str, Callable[[int], object]], seed: int, clock: Callable[[], float], name: str
) -> float:
    started = clock()
    runs[name](seed)
    return clock() - started

"""Quality at measured time: `python dev.py bench quality`.

Families, samplers, step counts and guidance; every method at several settings, ComfyUI's own caches, packs by path, fewer
steps, and fewer steps on searched noise levels. Writes `docs/results/quality.md` with its CSV files, a page of tables per
family and plots. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Callable, Sequence

import torch
from metrics.classifier import CHECKPOINT as CLASSIFIER
from metrics.crew import Pace, do_all
from metrics.study.crew import device_kind, load_bench, measure_pace
from metrics.study.store import fingerprint
from quality.engine import load_engine
from quality.fronts.contenders import fronts
from quality.fronts.dbcache import why_missing
from quality.fronts.frechet import distances, summaries
from quality.fronts.front import DEFAULT, Front
from quality.fronts.jobs import Job, calibrations, measurements, preparations
from quality.fronts.kit import Place
from quality.fronts.options import Options, read_options
from quality.fronts.packs import PackNode, find_nodes
from quality.fronts.pages import write_pages
from quality.fronts.plans import Plan
from quality.fronts.rows import duels, read_table, rows
from quality.fronts.settings import settings, takes_all
from quality.fronts.sheets import (
    DISTANCES,
    DUELS,
    ROWS,
    Line,
    distance_line,
    duel_line,
    joined,
    read_lines,
    row_line,
    write_lines,
)
from quality.fronts.tables import full_table, verdict_table
from quality.fronts.timing import time_pictures, untimed
from quality.fronts.verdicts import verdicts
from quality.fronts.work import Order
from zoo.sampling import RECIPES

_PROTOCOL = "1"
"""Part of the records' folder; another one where what is measured changes its meaning."""
_STAGES: tuple[Callable[[Plan], Sequence[Job]], ...] = (calibrations, preparations, measurements, summaries)
_TOGETHER = 4
"""Settings that are done together."""
_EVEN_PACE = Pace(1.0, 0.0)
"""For the time that a process has left, only the shares of the jobs count."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    options = read_options(arguments)
    load_engine()
    nodes, errors = find_nodes(options.packs)
    for name, text in errors.items():
        print(f"pack {name}: {text}; it is left out", flush=True)
    missing = why_missing(options.cache_dit)
    if missing:
        print(missing, flush=True)
    plans = {
        family: _plans(family, options, nodes, has_cache_dit=not missing) for family in options.size.families
    }
    if not options.collect:
        _announce(plans, options)
        for family, own in plans.items():
            _measure(family, own, options)
    _write(plans, errors, options)
    return 0


def _plans(family: str, options: Options, nodes: Sequence[PackNode], *, has_cache_dit: bool) -> list[Plan]:
    recipe = RECIPES[family]
    engine = load_engine()
    words = [torch.__version__, device_kind(), _host_version(), _PROTOCOL]
    sum_of_files = fingerprint([recipe.checkpoint, recipe.autoencoder.checkpoint, CLASSIFIER], words)
    folder = options.work / f"{family}_{sum_of_files}"
    found = {
        setting: fronts(
            setting,
            family,
            is_full=takes_all(options.size, setting),
            core=engine.core,
            packs=nodes,
            has_cache_dit=has_cache_dit,
        )
        for setting in settings(options.size)
    }
    _require_known(options.only, [front for of_setting in found.values() for front in of_setting])
    return [
        Plan(Place(folder, setting), _chosen(of_setting, options.only), options.size)
        for setting, of_setting in found.items()
    ]


def _require_known(only: Sequence[str], found: Sequence[Front]) -> None:
    known = dict.fromkeys(front.name for front in found)
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise SystemExit(
            f"bench quality: got --only {' '.join(unknown)}; expected some of {' '.join(known)}; change them"
        )


def _chosen(found: Sequence[Front], only: Sequence[str]) -> tuple[Front, ...]:
    """The fronts that are asked for, with fewer steps, the default, and those whose thresholds they share."""
    shared = {front.tuned_as for front in found if front.name in only}
    always = (DEFAULT, *(front.name for front in found if front.origin == "fewer steps"))
    return tuple(front for front in found if not only or front.name in (*only, *shared, *always))


def _host_version() -> str:
    version: str = importlib.import_module("comfyui_version").__version__
    return version


def _announce(plans: dict[str, list[Plan]], options: Options) -> None:
    """Say what is to be done and about how long it takes."""
    total = 0.0
    for family, own in plans.items():
        jobs = [job for plan in own for stage in _STAGES for job in stage(plan)]
        if not jobs and not any(_untimed(plan, options) for plan in own):
            print(f"{family}: everything is measured")
            continue
        pace = measure_pace(load_bench(family, own[0].place.folder), is_bfloat16=False)
        drawing = pace.seconds(jobs) / options.workers
        timing = sum(_timing_passes(plan, options) for plan in own) * pace.per_pass
        total += drawing + timing
        print(
            f"{family}: {len(own)} settings, {len(jobs)} jobs to do, about {drawing / 60:.1f} min in {options.workers} "
            f"processes, then about {timing / 60:.1f} min of timing",
            flush=True,
        )
    print(f"about {total / 60:.1f} min in all; an interrupted run goes on where it stopped", flush=True)


def _untimed(plan: Plan, options: Options) -> int:
    return sum(len(untimed(plan, options.clock, number)) for number in range(plan.size.pairs))


def _timing_passes(plan: Plan, options: Options) -> float:
    """About how many passes timing takes: half a run each, and an uncached one for every four."""
    return _untimed(plan, options) * plan.setting.num_passes * 0.75


def _measure(family: str, plans: Sequence[Plan], options: Options) -> None:
    """Do some settings at a time, so that an early end leaves whole ones and processes do not start for each."""
    order = Order(family, plans[0].place.folder)
    for start in range(0, len(plans), _TOGETHER):
        group = plans[start : start + _TOGETHER]
        for due in _STAGES[:-1]:
            _do(order, [job for plan in group for job in due(plan)], options)
        to_time = [plan for plan in group if _untimed(plan, options)]
        hand = order.hand() if to_time else None
        for plan in to_time:
            assert hand is not None
            print(f"{family} {plan.setting.name}: timing", flush=True)
            time_pictures(hand, plan, options.clock)
    _do(order, [job for plan in plans for job in summaries(plan)], options)


def _do(order: Order, jobs: Sequence[Job], options: Options) -> None:
    if jobs:
        do_all(order, jobs, _EVEN_PACE, min(options.workers, len(jobs)))


def _write(plans: dict[str, list[Plan]], errors: dict[str, str], options: Options) -> None:
    """Print what was found, and write the files and pages unless only some took part."""
    made = f"{platform.system()} {platform.machine()}, torch {torch.__version__}, ComfyUI {_host_version()}"
    made += f"; searches of up to {options.size.runs} runs of {options.size.searching} pictures"
    found: list[Line] = []
    fought: list[Line] = []
    apart: list[Line] = []
    for family, own in plans.items():
        for plan in own:
            table = read_table(plan, options.clock)
            found += [row_line(row, made) for row in rows(table, family)]
            fought += [duel_line(duel) for duel in duels(table, family)]
            apart += [distance_line(one, plan.setting) for one in distances(plan, family)]
    print(full_table(found) if options.only else verdict_table(verdicts(fought)))
    if options.results is None:
        return
    for name, lines in ((ROWS, found), (DUELS, fought), (DISTANCES, apart)):
        known = joined(read_lines(options.results / name), lines)
        if known:
            write_lines(options.results / name, known)
    write_pages(options.results, errors | _errors(plans))


def _errors(plans: dict[str, list[Plan]]) -> dict[str, str]:
    """By front of a pack and setting what it failed with."""
    return {
        f"{family}, {plan.setting.name}, {front.title}": plan.error(front).read_text(encoding="utf-8").strip()
        for family, own in plans.items()
        for plan in own
        for front in plan.fronts
        if plan.error(front).is_file()
    }


if __name__ == "__main__":
    sys.exit(main())

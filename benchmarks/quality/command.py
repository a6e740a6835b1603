"""What `bench methods` and `bench routers` share: options, estimates, calibrations, pictures and times of some cells."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from metrics.classifier import CHECKPOINT as CLASSIFIER
from metrics.crew import Pace, do_all
from metrics.study.crew import device_kind, load_bench, measure_pace
from metrics.study.store import fingerprint
from zoo.evaluate import records_folder
from zoo.sampling import MODELS, RECIPES

from .calibration import Part, parts
from .cells import Cell
from .code import PROBES, parts_of
from .engine import ROOT, load_engine
from .timing import BESIDE, CLOCKS, time_pictures
from .work import KIT, Hand, Job, Order, open_jobs, take_over

RESULTS = ROOT / "docs" / "results"
_WORK = Path.home() / ".cache" / "feature_cache_zoo"
_LEAST_SAMPLES = 4 * 64
_CLOCKED = {"wall": "wall seconds", "thread": "seconds that the thread itself ran (the machine was busy)"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    models: tuple[str, ...]
    seeds: int
    samples: int
    pairs: int
    clock: str
    quick: bool
    collect: bool
    precision: str
    workers: int
    work: Path
    evaluated: Path
    results: Path | None
    """Where to write; None writes nothing but the records."""


@dataclass(frozen=True)
class Family:
    """One model's share of a benchmark: its records, and what is still to be done."""

    model: str
    folder: Path
    cells: tuple[Cell, ...]
    calibrations: Sequence[Part]
    jobs: Sequence[Job]
    pace: Pace

    @property
    def seconds(self) -> float:
        """Estimated time of one process, without what is timed."""
        return self.pace.seconds([*self.calibrations, *self.jobs])


Write = Callable[[Family, Options, Hand], None]
"""Writes what was measured of a family."""


def options_parser(name: str, about: str) -> argparse.ArgumentParser:
    """Return the options that every benchmark of cells has."""
    parser = argparse.ArgumentParser(prog=f"bench {name}", description=about.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="only these")
    parser.add_argument("--seeds", type=int, default=32, help="pictures per cell (default: %(default)s)")
    parser.add_argument(
        "--samples",
        type=int,
        default=2000,
        help="pictures per headline cell; 0 leaves them out, else 256 or more",
    )
    parser.add_argument("--pairs", type=int, default=4, help="pictures on which everything is timed")
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="wall",
        help="thread: where other programs keep the machine busy",
    )
    parser.add_argument("--quick", action="store_true", help="4 seeds, 1 picture timed, nothing written")
    parser.add_argument(
        "--collect", action="store_true", help="draw nothing: write what earlier runs have measured until now"
    )
    parser.add_argument(
        "--precision", choices=("bfloat16", "float32"), default="bfloat16", help="of the headline cells"
    )
    parser.add_argument("--workers", type=int, default=max(1, min(8, os.cpu_count() or 1)), help="processes")
    parser.add_argument(
        "--work", type=Path, default=_WORK / "methods", help="folder for the records; benchmarks share them"
    )
    parser.add_argument(
        "--evaluated",
        type=Path,
        default=_WORK / "evaluate",
        help="records of `zoo evaluate`, used where they fit",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the tables")
    return parser


def read_options(given: Mapping[str, Any], prog: str) -> Options:
    """Check what was given.

    Args:
        given: By name, of `options_parser`.
        prog: Who reads it, for the refusal.

    Raises:
        SystemExit: If the numbers would give no interval.
    """
    quick = {"seeds": 4, "samples": 0, "pairs": 1, "results": None} if given["quick"] else {}
    options = Options(**{**given, **quick, "models": tuple(given["models"])})
    too_few = 0 < options.samples < _LEAST_SAMPLES
    if options.seeds < 2 or options.pairs < 0 or options.samples < 0 or too_few:
        raise SystemExit(
            f"{prog}: got --seeds {options.seeds}, --samples {options.samples} and --pairs {options.pairs}; "
            f"expected 2 or more seeds, 0 or at least {_LEAST_SAMPLES} samples (four per feature of the Frechet distance), "
            "and no negative number; change them"
        )
    return options


def run(cells: Mapping[str, Sequence[Cell]], options: Options, write: Write) -> int:
    """Say how long it takes, measure family by family, and write after each; return the exit status.

    Args:
        cells: By model what is compared, the uncached run first.
        options: What the command line says.
        write: Called after every family; with `--collect` with what earlier runs have measured.
    """
    families = [_prepare(model, tuple(chosen), options) for model, chosen in cells.items()]
    if not options.collect:
        for family in families:
            print(_estimate(family, options), flush=True)
    for family in families:
        if not options.collect:
            _measure(family, options)
        write(family, options, _hand(family, options))
    return 0


def _estimate(family: Family, options: Options) -> str:
    minutes = family.seconds / 60.0 / options.workers
    return (
        f"{family.model}: {len(family.calibrations)} calibrations and {len(family.jobs)} batches to do, estimated "
        f"{minutes:.1f} min in {options.workers} processes, then {options.pairs} pictures timed"
    )


def _prepare(model: str, cells: tuple[Cell, ...], options: Options) -> Family:
    folder = options.work / f"{model}_{_fingerprint(model, options)}"
    take_over(records_folder(options.evaluated, model, options.precision), folder)
    needed = needed_parts(cells)
    calibrations = [
        part for part in parts(options.quick) if part.name in needed and not part.is_done(folder / KIT)
    ]
    jobs = open_jobs(folder, cells, options.seeds, options.samples)
    pace = Pace(0.0, 0.0)
    if (calibrations or jobs) and not options.collect:
        pace = measure_pace(load_bench(model, folder), is_bfloat16=False)
    return Family(model, folder, cells, calibrations, jobs, pace)


def needed_parts(cells: Sequence[Cell]) -> set[str]:
    """Return which parts of the kit some cells take; fitted thresholds are found with the coefficients."""
    taken = {name for cell in cells for name in parts_of(cell)}
    return taken | {"coefficients"} if "fitted" in taken else taken


def _fingerprint(model: str, options: Options) -> str:
    """Changes with all that every record depends on; the code of a cell is in the name of its record."""
    recipe = RECIPES[model]
    words = [torch.__version__, options.precision, device_kind(), str(options.quick)]
    return fingerprint([recipe.checkpoint, recipe.autoencoder.checkpoint, CLASSIFIER], words)


def _measure(family: Family, options: Options) -> None:
    order = Order(family.model, family.folder, options.precision == "bfloat16")
    # Thresholds are found with the artefacts, so these come first.
    for of_artefacts in (True, False):
        due = [part for part in family.calibrations if (part.name in PROBES) == of_artefacts]
        if due:
            do_all(order, due, family.pace, options.workers)
    if family.jobs:
        do_all(order, family.jobs, family.pace, options.workers)
    with torch.inference_mode():
        time_pictures(_hand(family, options), family.cells, options.pairs, options.clock)


def _hand(family: Family, options: Options) -> Hand:
    return Hand(load_engine(), load_bench(family.model, family.folder), options.precision == "bfloat16")


def note(model: str, options: Options) -> str:
    """Return how a family was measured, as a paragraph."""
    recipe = RECIPES[model]
    text = (
        f"Seed i draws held-out caption i of generator seed 0; seeds 0 to {options.seeds - 1}; {recipe.size} by "
        f"{recipe.size} px; 20 Euler steps, simple schedule, cfg 4; float32 on {device_kind()}; against the uncached run "
        "of the same seed, decoded floats in [0, 1]. Bounds: 95 %, bootstrap over the seeds. Dynamic methods draw every "
        f"picture alone, the others eight together. Time: one picture at a time on one thread, {_CLOCKED[options.clock]} over the mean "
        f"of the uncached runs before and after, one of them every {BESIDE} cells, median of {options.pairs} pictures."
    )
    if options.samples:
        text += f" Frechet distances: {options.samples} seeds, {options.precision}, in 64 features whose variances sum to 1."
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{text} {machine}, Python {platform.python_version()}, torch {torch.__version__}."

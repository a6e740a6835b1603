"""Every method on the zoo against the uncached run and fewer steps: `python dev.py bench methods`.

20 Euler steps at cfg 4. Calibrates on pictures of its own, draws, measures, times, and writes `docs/results/methods.md`
with a JSON file and plots per family, after every family. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from metrics.classifier import CHECKPOINT as CLASSIFIER
from metrics.crew import Pace, do_all
from metrics.study.crew import device_kind, load_bench, measure_pace
from metrics.study.store import fingerprint
from quality.calibration import Part, parts
from quality.cells import Cell, cells, groups
from quality.distances import distances
from quality.engine import ROOT, load_engine
from quality.kit import PARTS
from quality.pages import Study, table, write_study
from quality.results import matches, rows
from quality.timing import BESIDE, CLOCKS, time_pictures
from quality.work import KIT, Hand, Job, Order, open_jobs, take_over
from zoo.evaluate import records_folder
from zoo.sampling import MODELS, RECIPES

RESULTS = ROOT / "docs" / "results"
_WORK = Path.home() / ".cache" / "feature_cache_zoo"
_LEAST_SAMPLES = 4 * 64
_CLOCKED = {"wall": "wall seconds", "thread": "seconds that the thread itself ran (the machine was busy)"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    models: tuple[str, ...]
    methods: tuple[str, ...]
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

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What is compared."""
        return cells(self.methods, load_engine().core)


@dataclass(frozen=True)
class Family:
    """One model's share of the benchmark: its records, and what is still to be done."""

    model: str
    folder: Path
    calibrations: Sequence[Part]
    jobs: Sequence[Job]
    pace: Pace

    @property
    def seconds(self) -> float:
        """Estimated time of one process, without what is timed."""
        return self.pace.seconds([*self.calibrations, *self.jobs])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    options = _options(arguments)
    families = [_prepare(model, options) for model in options.models]
    if options.collect:
        for family in families:
            _write(family, options, _hand(family, options))
        return 0
    for family in families:
        minutes = family.seconds / 60.0
        print(
            f"{family.model}: {len(family.calibrations)} calibrations and {len(family.jobs)} batches to do, estimated "
            f"{minutes / options.workers:.1f} min in {options.workers} processes, then {options.pairs} pictures timed",
            flush=True,
        )
    for family in families:
        _measure(family, options)
    return 0


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="bench methods", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="only these")
    parser.add_argument(
        "--methods", nargs="+", default=(), choices=groups(), help="only these; nothing written"
    )
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
    parser.add_argument("--work", type=Path, default=_WORK / "methods", help="folder for the records")
    parser.add_argument(
        "--evaluated",
        type=Path,
        default=_WORK / "evaluate",
        help="records of `zoo evaluate`, used where they fit",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the tables")
    given = vars(parser.parse_args(arguments))
    if given["quick"]:
        given |= {"seeds": 4, "samples": 0, "pairs": 1}
    if given["quick"] or given["methods"]:
        given["results"] = None
    given |= {"models": tuple(given["models"]), "methods": tuple(given["methods"])}
    if (
        given["seeds"] < 2
        or given["pairs"] < 0
        or 0 < given["samples"] < _LEAST_SAMPLES
        or given["samples"] < 0
    ):
        raise SystemExit(
            f"bench methods: got --seeds {given['seeds']}, --samples {given['samples']} and --pairs {given['pairs']}; "
            f"expected 2 or more seeds, 0 or at least {_LEAST_SAMPLES} samples (four per feature of the Frechet distance), "
            "and no negative number; change them"
        )
    options = Options(**given)
    if options.methods:
        _require_methods(options.methods, groups(load_engine().core))
    return options


def _require_methods(asked: Sequence[str], known: Sequence[str]) -> None:
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise SystemExit(
            f"bench methods: got --methods {' '.join(unknown)}; expected some of {' '.join(known)}; change them"
        )


def _prepare(model: str, options: Options) -> Family:
    folder = options.work / f"{model}_{_fingerprint(model, options)}"
    take_over(records_folder(options.evaluated, model, options.precision), folder)
    calibrations = [part for part in parts(options.quick) if not part.is_done(folder / KIT)]
    jobs = open_jobs(folder, options.cells, options.seeds, options.samples)
    pace = Pace(0.0, 0.0)
    if (calibrations or jobs) and not options.collect:
        pace = measure_pace(load_bench(model, folder), is_bfloat16=False)
    return Family(model, folder, calibrations, jobs, pace)


def _fingerprint(model: str, options: Options) -> str:
    """Changes with the checkpoints and with the methods' code, so that no record outlives what it measured."""
    recipe = RECIPES[model]
    code = [
        path for part in ("policies", "ops") for path in sorted((ROOT / "cache_core" / part).glob("*.py"))
    ]
    words = [torch.__version__, options.precision, device_kind(), str(options.quick)]
    return fingerprint([recipe.checkpoint, recipe.autoencoder.checkpoint, CLASSIFIER, *code], words)


def _measure(family: Family, options: Options) -> None:
    order = Order(family.model, family.folder, options.precision == "bfloat16")
    for of_artefacts in (True, False):
        due = [part for part in family.calibrations if (part.name in PARTS) == of_artefacts]
        if due:
            do_all(order, due, family.pace, options.workers)
    if family.jobs:
        do_all(order, family.jobs, family.pace, options.workers)
    hand = _hand(family, options)
    with torch.inference_mode():
        time_pictures(hand, options.cells, options.pairs, options.clock)
    _write(family, options, hand)


def _hand(family: Family, options: Options) -> Hand:
    return Hand(load_engine(), load_bench(family.model, family.folder), options.precision == "bfloat16")


def _write(family: Family, options: Options, hand: Hand) -> None:
    study = Study(
        model=family.model,
        note=_note(family.model, options),
        rows=rows(family.folder, options.cells, options.seeds, options.pairs, options.clock),
        distances=distances(family.folder, options.cells, options.samples),
        matches=matches(family.folder, options.cells, options.seeds),
        cells=options.cells,
        numbers=dict(hand.kit.numbers),
        facts=_facts(hand),
    )
    print(table(study))
    if options.results is not None:
        write_study(study, options.results, family.folder / KIT)


def _facts(hand: Hand) -> dict[str, dict[str, float]]:
    """What calibration measured of its own artefacts."""
    return {name: dict(hand.kit.artefacts[name].measured) for name in PARTS}


def _note(model: str, options: Options) -> str:
    recipe = RECIPES[model]
    note = (
        f"Seed i draws held-out caption i of generator seed 0; seeds 0 to {options.seeds - 1}; {recipe.size} by "
        f"{recipe.size} px; 20 Euler steps, simple schedule, cfg 4; float32 on {device_kind()}; against the uncached run "
        "of the same seed, decoded floats in [0, 1]. Bounds: 95 %, bootstrap over the seeds. Dynamic methods draw every "
        f"picture alone, the others eight together. Time: one picture at a time on one thread, {_CLOCKED[options.clock]} over the mean "
        f"of the uncached runs before and after, one of them every {BESIDE} cells, median of {options.pairs} pictures."
    )
    if options.samples:
        note += f" Frechet distances: {options.samples} seeds, {options.precision}, in 64 features whose variances sum to 1."
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{note} {machine}, Python {platform.python_version()}, torch {torch.__version__}."


if __name__ == "__main__":
    sys.exit(main())

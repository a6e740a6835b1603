"""What `bench presets` and `bench corrections` share: options, the work of all processes, and a JSON record per job."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from metrics.crew import Order, Task, do_all
from metrics.study.crew import load_bench, measure_pace
from zoo.sampling import MODELS

from .engine import ROOT

RESULTS = ROOT / "docs" / "results"
_WORK = Path.home() / ".cache" / "feature_cache_zoo"


class Sweep(Order, Protocol):
    """An order that knows where its records are."""

    @property
    def folder(self) -> Path:
        """Of the model's records."""


S = TypeVar("S", bound=Sweep)
J = TypeVar("J", bound=Task)
M = TypeVar("M")


def sweep_parser(name: str, about: str) -> argparse.ArgumentParser:
    """Return the options: models, seeds, workers, where the records go, and `results`, None with --quick."""
    parser = argparse.ArgumentParser(prog=f"bench {name}", description=about.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="only these")
    parser.add_argument("--seeds", type=int, default=8, help="pictures of each (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=max(1, min(8, os.cpu_count() or 1)), help="processes")
    parser.add_argument("--work", type=Path, default=_WORK / name, help="folder for the records")
    parser.add_argument("--quick", dest="results", action="store_const", const=None, help="nothing written")
    parser.set_defaults(results=RESULTS)
    return parser


def do_missing(order: Sweep, jobs: Sequence[Task], workers: int) -> None:
    """Say how long it takes and do the jobs that have no record yet."""
    due = [job for job in jobs if not record_path(order.folder, job).is_file()]
    if due:
        pace = measure_pace(load_bench(order.model, order.folder), is_bfloat16=False)
        minutes = pace.seconds(due) / workers / 60
        print(f"{order.model}: {len(due)} jobs, about {minutes:.0f} min in {workers} processes", flush=True)
        do_all(order, due, pace, workers)


def sweep(
    orders: Iterable[S], jobs: Sequence[J], workers: int, read: Callable[[S, J], Iterable[M]]
) -> list[M]:
    """Do what is missing of every order, and return what `read` finds in the records of all."""
    found: list[M] = []
    for order in orders:
        do_missing(order, jobs, workers)
        found += [one for job in jobs for one in read(order, job)]
    return found


def record_path(folder: Path, job: Task) -> Path:
    """Where the record of a job is."""
    return folder / f"{job.record}.json"


def keep(folder: Path, job: Task, found: Any) -> None:
    """Write the record of a job, whole or not at all."""
    path = record_path(folder, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(found) + "\n", encoding="utf-8")
    partial.replace(path)


def recall(folder: Path, job: Task) -> Any:
    """Read the record of a job."""
    return json.loads(record_path(folder, job).read_text(encoding="utf-8"))

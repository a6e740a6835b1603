"""How far Step List may go for what a user wants: `python dev.py bench presets`.

Draws with Step List at its defaults, over models, samplers of every class, numbers of steps, guidance and speedups, on prompts and
seeds that no other measurement uses, and measures PSNR against the uncached picture. Writes `docs/results/presets.json`, of
which `python dev.py docs` makes a page, and `cache_core/presets.json`, which the setting `intent` reads. An interrupted run goes on
where it stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from metrics.fidelity import psnr
from metrics.study.cells import Cell as Setting
from metrics.study.crew import load_bench
from metrics.study.store import fingerprint
from quality.code import sources, sum_of
from quality.engine import ROOT, load_engine, sigmas_of
from quality.fronts.drawing import draw_latents
from quality.fronts.names import CFGS, SAMPLERS, STEPS
from quality.presets import Measured, table
from quality.sampling import drawn_by
from quality.sweep import keep, recall, sweep, sweep_parser
from zoo.sampling import MODELS, RECIPES, decode

SPEEDUPS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
FIRST_SEED = 40_000
"""Far from the seeds, and so the captions, of other measurements and searches."""
METHOD = ROOT / "cache_core" / "policies" / "step_list.py"


@dataclass(frozen=True)
class Job:
    """One setting of a model, with all speedups."""

    setting: Setting
    seeds: range

    is_headline = False

    @property
    def record(self) -> str:
        """Name of its record."""
        return f"{self.setting.name}_{len(self.seeds)}"

    @property
    def num_passes(self) -> int:
        """About how many forward passes it takes."""
        return round(len(self.seeds) * self.setting.num_passes * (1 + sum(1 / one for one in SPEEDUPS)))


@dataclass(frozen=True)
class Order:
    """What a process needs to know."""

    model: str
    folder: Path

    def begin(self) -> Any:
        """Load the models and return what does one job."""
        engine, bench = load_engine(), load_bench(self.model, self.folder)
        return lambda job: measure(engine, bench.pipeline, job, self.folder)


def measure(engine: Any, pipeline: Any, job: Job, folder: Path) -> None:
    """Draw a setting at every speedup and keep the PSNR of each picture."""
    sigmas = sigmas_of(pipeline.model, job.setting.steps)
    plain = decode(pipeline, draw_latents(pipeline, job.setting, job.seeds, sigmas))
    method, found = engine.core.POLICIES["step_list"], {}
    for speedup in SPEEDUPS:
        model = engine.carry(pipeline.model, method(method.config_type(speedup=speedup)))
        latents = draw_latents(drawn_by(pipeline, model), job.setting, job.seeds, sigmas)
        found[f"{speedup:g}"] = psnr(decode(pipeline, latents), plain).tolist()
    keep(folder, job, found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    parser = sweep_parser("presets", __doc__ or "")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, choices=SAMPLERS, help="only these")
    parser.add_argument(
        "--steps", nargs="+", type=int, default=STEPS, metavar="N", help="default: %(default)s"
    )
    given = parser.parse_args(arguments)
    is_whole = set(given.models) == set(MODELS) and set(given.samplers) == set(SAMPLERS)
    if given.seeds < 2 or not (is_whole or given.results is None):
        parser.error(
            "expected 2 or more --seeds, and --quick beside --models or --samplers: the table that ships needs all"
        )
    seeds = range(FIRST_SEED, FIRST_SEED + given.seeds)
    jobs = [Job(Setting(*one), seeds) for one in product(given.samplers, given.steps, CFGS)]
    orders = [Order(model, given.work / f"{model}_{_sum(model)}") for model in given.models]
    found = sweep(orders, jobs, given.workers, _measured)
    print(table(found))
    if given.results is not None:
        record = [asdict(one) for one in found]
        (given.results / "presets.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print("written; `python dev.py docs` makes page and table of it")
    return 0


def _sum(model: str) -> str:
    """Changes with the models and with the method, so that no record outlives what it measured."""
    recipe = RECIPES[model]
    code = sum_of(sorted(sources(METHOD)), map(str, SPEEDUPS))
    return fingerprint([recipe.checkpoint, recipe.autoencoder.checkpoint], [torch.__version__, code])


def _measured(order: Order, job: Job) -> list[Measured]:
    scores: dict[str, list[float]] = recall(order.folder, job)
    return [Measured.of(order.model, job.setting, float(speedup), psnr) for speedup, psnr in scores.items()]


if __name__ == "__main__":
    sys.exit(main())

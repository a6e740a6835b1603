"""Where a correction helps, and why: `python dev.py bench corrections`.

FORA at two intervals and two levels, bare and with Error-Optimized Cache, Gradient-Optimized Cache and Forecast on top, over
models and guidance, against the uncached picture of the same seed. Beside the pictures it looks at single predictions: given the
states of the uncached run, how far is what the cache expects from what the network expects, and how much of that does
Error-Optimized Cache leave? Writes `docs/results/corrections.json`, of which `python dev.py docs` makes a page. An interrupted
run goes on where it stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from metrics.fidelity import psnr
from metrics.study.cells import Cell as Setting
from metrics.study.crew import load_bench
from metrics.study.store import fingerprint
from quality.calibration import record_runs
from quality.code import policy_files, sources, sum_of
from quality.corrections import CORRECTIONS, EOC, Measured, energy, table
from quality.engine import ROOT, Engine, load_engine, sigmas_of
from quality.fronts.drawing import Trail, draw_latents, predict_at
from quality.sampling import drawn_by
from quality.sweep import keep, recall, sweep, sweep_parser
from torch import Tensor
from zoo.sampling import MODELS, RECIPES, Pipeline, decode

NUM_STEPS, SAMPLER = 20, "euler"
CFGS, LEVELS, INTERVALS = (1.0, 1.5, 4.0), ("module", "stack"), (2, 4)
"""1.5 is the guidance of the papers."""
FIRST_SEED, FIRST_CALIBRATING_SEED, NUM_CALIBRATING = 45_000, 46_000, 32
"""Far from the seeds, and so the captions, of other measurements; and of what the priors are made."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One model at one guidance and level: its prior, and every interval with every correction."""

    setting: Setting
    level: str
    seeds: range

    is_headline = False

    @property
    def record(self) -> str:
        """Name of its record."""
        return f"{self.setting.name}_{self.level}_{len(self.seeds)}"

    @property
    def corrections(self) -> tuple[str, ...]:
        """What is put on top: GOC and forecasts at the papers' level only."""
        return tuple(CORRECTIONS) if self.level == LEVELS[0] else ("", EOC)

    @property
    def num_passes(self) -> int:
        """About how many forward passes it takes."""
        cached = sum(1 / interval for interval in INTERVALS) * (len(self.corrections) + 2)
        return round(self.setting.num_passes * (NUM_CALIBRATING + len(self.seeds) * (1 + cached)))


@dataclass(frozen=True)
class Order:
    """What a process needs to know."""

    model: str
    folder: Path

    def begin(self) -> Any:
        """Load the models and return what does one job."""
        engine, bench = load_engine(), load_bench(self.model, self.folder)
        return lambda job: keep(self.folder, job, measure(engine, bench.pipeline, job))


def measure(engine: Engine, pipeline: Pipeline, job: Job) -> Record:
    """Draw and predict with every correction; return PSNR of each picture and what the predictions show."""
    prior, sigmas, trail = _prior(engine, pipeline, job), sigmas_of(pipeline.model, NUM_STEPS), Trail()
    plain = decode(pipeline, draw_latents(pipeline, job.setting, job.seeds, sigmas, trail.note))
    rows = []
    for interval, name in product(INTERVALS, job.corrections):
        policy = _policy(engine.core, job.level, interval, name, prior)
        cached = drawn_by(pipeline, engine.carry(pipeline.model, policy))
        pictures = decode(pipeline, draw_latents(cached, job.setting, job.seeds, sigmas))
        row: Record = {"interval": interval, "correction": name, "psnr": psnr(pictures, plain).tolist()}
        if name in ("", EOC):
            row["energy"] = energy(_errors(cached, job, sigmas, trail))
        rows.append(row)
    return {"explained": prior.measured["explained"], "rows": rows}


def _prior(engine: Engine, pipeline: Pipeline, job: Job) -> Any:
    kind = engine.core.CALIBRATIONS["prior"]
    probe = kind(kind.config_type(level=job.level))
    seeds = range(FIRST_CALIBRATING_SEED, FIRST_CALIBRATING_SEED + NUM_CALIBRATING)
    return probe.findings(record_runs(engine, pipeline, probe, job.setting, seeds)).artefact


def _policy(core: Any, level: str, interval: int, name: str, prior: Any) -> Any:
    kind = core.POLICIES["fora"]
    fora = kind(kind.config_type(interval=interval, anchor="start", level=level))
    if not name:
        return fora
    method, settings = CORRECTIONS[name]
    given = {"prior": prior} if name == EOC else settings
    return core.CORRECTIONS[method](fora, core.CORRECTIONS[method].config_type(**given))


def _errors(cached: Pipeline, job: Job, sigmas: Sequence[float], trail: Trail) -> Tensor:
    """Return (T, B, C, h, w): what every step's prediction, from the uncached run's states, adds to the latents wrongly."""
    outputs = predict_at(cached, job.setting, job.seeds, sigmas, trail.states)
    # One step of Euler's method takes this much of the expected clean picture.
    taken = [1.0 - after / before for before, after in pairwise(sigmas)]
    return torch.stack([w * (o - t) for w, o, t in zip(taken, outputs, trail.outputs, strict=True)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    parser = sweep_parser("corrections", __doc__ or "")
    given = parser.parse_args(arguments)
    if given.seeds < 2 or not (set(given.models) == set(MODELS) or given.results is None):
        parser.error("expected 2 or more --seeds, and --quick beside --models: the page needs all of them")
    seeds = range(FIRST_SEED, FIRST_SEED + given.seeds)
    jobs = [Job(Setting(SAMPLER, NUM_STEPS, cfg), level, seeds) for cfg, level in product(CFGS, LEVELS)]
    orders = [Order(model, given.work / f"{model}_{_sum(model)}") for model in given.models]
    found = sweep(orders, jobs, given.workers, _measured)
    print(table(found))
    if given.results is not None:
        record = [asdict(one) for one in found]
        (given.results / "corrections.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print("written; `python dev.py docs` makes a page of it")
    return 0


def _sum(model: str) -> str:
    """Changes with the models and with the methods, so that no record outlives what it measured."""
    recipe, prior = RECIPES[model], sources(ROOT / "cache_core" / "calibration" / "prior.py")
    methods = policy_files("fora", *(method for method, _ in CORRECTIONS.values()))
    code = sum_of(sorted({*prior, *methods}), [])
    return fingerprint([recipe.checkpoint, recipe.autoencoder.checkpoint], [torch.__version__, code])


def _measured(order: Order, job: Job) -> Iterator[Measured]:
    record = recall(order.folder, job)
    bare = {row["interval"]: row for row in record["rows"] if not row["correction"]}
    for row in record["rows"]:
        shared = bare[row["interval"]]
        yield Measured.of(order.model, job.setting.cfg, job.level, record["explained"], row, shared)


if __name__ == "__main__":
    sys.exit(main())

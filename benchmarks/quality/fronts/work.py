"""What a process does with the jobs of the benchmark."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from metrics.observation import observe
from metrics.study.cells import Cell as Setting
from metrics.study.crew import load_bench
from metrics.study.measure import LATENTS, Bench, Drawn, compare, render_scenes
from metrics.study.store import Record, read_record, write_record
from zoo.sampling import Pipeline, decode, load_pipeline

from ..cells import DATA, UNCACHED, Cell
from ..engine import Engine, load_engine
from .front import PACK, SEARCHED, uncached
from .jobs import Calibrate, Job, Measure, Search, Summarise, Tune
from .kit import SettingKit, make_artefact, read_kit, write_json
from .plans import Plan
from .running import draw, search_levels, tune


@dataclass(frozen=True)
class Order:
    """What a process needs to know."""

    model: str
    folder: Path

    def begin(self) -> Callable[[Job], None]:
        """Load the models and return what does one job."""
        return self.hand().do

    def hand(self) -> Hand:
        """Load the models; caches then say nothing of every run, as there are thousands."""
        for name in ("cache_core", ""):
            logging.getLogger(name).setLevel(logging.ERROR)
        return Hand(load_engine(), load_bench(self.model, self.folder), self.model)


class Hand:
    """Does jobs; keeps the reference of the batch of seeds that it is at, and the kit of its setting."""

    def __init__(self, engine: Engine, bench: Bench, family: str) -> None:
        """Begin without a reference and a kit."""
        self.engine, self.bench, self.family = engine, bench, family
        self._reference: tuple[tuple[Setting, range], Drawn] | None = None

    def do(self, job: Job) -> None:
        """Do one job; a pack of others that fails is noted and left out."""
        if isinstance(job, Calibrate):
            make_artefact(self.engine, self.bench.pipeline, job.plan.place, job.record, job.seeds)
        elif isinstance(job, Search):
            self._search(job)
        elif isinstance(job, Summarise):
            self._summarise(job)
        elif isinstance(job, (Tune, Measure)):
            self._try(job)

    def kit(self, plan: Plan) -> SettingKit:
        """Read what a setting's contenders take."""
        thresholds = [plan.thresholds(front) for front in plan.fronts if front.knob is not None]
        lists = [
            plan.searched(cell.steps)
            for front in plan.fronts
            if front.name == SEARCHED
            for cell in front.cells
        ]
        return read_kit(self.engine, self.bench.pipeline.model, plan.place, thresholds, lists)

    def pipeline_for(self, cell: Cell) -> Pipeline:
        """The models; for a pack of others models of its own, as some leave traces on the network."""
        return load_pipeline(self.family) if cell.method == PACK else self.bench.pipeline

    def _try(self, job: Tune | Measure) -> None:
        is_foreign = job.front is not None and job.front.origin == "pack"
        do = self._tune if isinstance(job, Tune) else self._measure
        try:
            do(job)  # type: ignore[arg-type]
        except Exception as error:
            if not is_foreign:
                raise
            assert job.front is not None
            path = job.plan.error(job.front)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")

    def _search(self, job: Search) -> None:
        kit, plan = self.kit(job.plan), job.plan
        found = search_levels(
            kit, self.bench.pipeline, plan.setting, job.num_steps, job.seeds, plan.size.runs
        )
        write_json(plan.searched(job.num_steps), asdict(found))

    def _summarise(self, job: Summarise) -> None:
        plan, pipeline = job.plan, self.bench.pipeline
        if job.cell.method == DATA:
            pictures = render_scenes(job.seeds, pipeline.size)
        else:
            batch = draw(self.kit(plan), pipeline, plan.setting, job.cell, job.seeds, self.family)
            pictures = decode(pipeline, batch.latents)
        seen = observe(self.bench.classifier, pictures)
        write_record(plan.summary(job.cell, job.seeds), {"summary": seen.summary.numpy()})

    def _tune(self, job: Tune) -> None:
        kit, pipeline = self.kit(job.plan), self.pipeline_for(job.front.cells[0])
        found = tune(kit, pipeline, job.plan.setting, job.front, job.seeds, self.family)
        write_json(job.plan.thresholds(job.front), {"thresholds": found})

    def _measure(self, job: Measure) -> None:
        """Draw and measure a cell against the uncached run of the same seeds; of that the latents are kept too."""
        if job.plan.record(job.cell, job.seeds).is_file() or self._has_failed(job):
            return
        reference = self._reference_of(job)
        if job.cell.name == UNCACHED:
            return
        batch = draw(
            self.kit(job.plan),
            self.pipeline_for(job.cell),
            job.plan.setting,
            job.cell,
            job.seeds,
            self.family,
        )
        ratios: Record = {"refresh": np.array(batch.refresh), "cost": np.array(batch.cost)}
        write_record(
            job.plan.record(job.cell, job.seeds), ratios | compare(self._look(batch.latents), reference)
        )

    def _has_failed(self, job: Measure) -> bool:
        return job.front is not None and job.plan.error(job.front).is_file()

    def _reference_of(self, job: Measure) -> Drawn:
        key = job.plan.setting, job.seeds
        if self._reference is None or self._reference[0] != key:
            self._reference = key, self._look(self._uncached(job.plan, job.seeds))
        return self._reference[1]

    def _uncached(self, plan: Plan, seeds: range) -> torch.Tensor:
        cell = uncached(plan.setting)
        path = plan.record(cell, seeds)
        if path.is_file():
            return torch.from_numpy(read_record(path)[LATENTS])
        latents = draw(self.kit(plan), self.bench.pipeline, plan.setting, cell, seeds, self.family).latents
        write_record(path, {LATENTS: latents.numpy()})
        return latents

    def _look(self, latents: torch.Tensor) -> Drawn:
        pictures = decode(self.bench.pipeline, latents)
        return Drawn(latents, pictures, observe(self.bench.classifier, pictures))

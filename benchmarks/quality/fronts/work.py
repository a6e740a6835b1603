"""What a process does with the jobs of the benchmark."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from metrics.fidelity import latent_error
from metrics.observation import observe
from metrics.study.cells import Cell as Setting
from metrics.study.crew import load_bench
from metrics.study.measure import LATENTS, Bench, Drawn, compare, render_scenes
from metrics.study.store import Record, read_record, write_record
from zoo.sampling import Pipeline, decode, load_pipeline

from ..cells import DATA, UNCACHED, Cell
from ..engine import Engine, load_engine
from .diffusers_models import EqualityError, with_diffusers
from .front import CACHE_DIT, PACK, SEARCHED, reference, uncached
from .jobs import Calibrate, Job, Measure, Search, Summarise, Tune
from .kit import SettingKit, make_artefact, read_kit, write_json
from .plans import Plan
from .running import draw, search_levels, tune

NEAR = 1e-3
"""Most that the latents of two uncached runs may differ by, relative; rounding adds up to about 1e-5 over a run."""


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
        self._reference: tuple[tuple[Setting, range, str], Drawn] | None = None

    def do(self, job: Job) -> None:
        """Do one job; code of others that fails is noted and left out."""
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
        """The models; for code that leaves traces on the network models of its own, for cache-dit with diffusers' network."""
        if cell.method == CACHE_DIT:
            return with_diffusers(load_pipeline(self.family), self.family)
        return load_pipeline(self.family) if cell.method == PACK else self.bench.pipeline

    def _try(self, job: Tune | Measure) -> None:
        is_foreign = job.front is not None and job.front.cells[0].method in (PACK, CACHE_DIT)
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
        own = reference(job.plan.setting, job.cell)
        key = job.plan.setting, job.seeds, own.name
        if self._reference is None or self._reference[0] != key:
            self._reference = key, self._look(self._uncached(job.plan, job.seeds, own))
        return self._reference[1]

    def _uncached(self, plan: Plan, seeds: range, cell: Cell) -> torch.Tensor:
        path = plan.record(cell, seeds)
        if path.is_file():
            return torch.from_numpy(read_record(path)[LATENTS])
        kit, pipeline = self.kit(plan), self.pipeline_for(cell)
        latents = draw(kit, pipeline, plan.setting, cell, seeds, self.family).latents
        if cell.name != UNCACHED:
            _require_near(latents, self._uncached(plan, seeds, uncached(plan.setting)))
        write_record(path, {LATENTS: latents.numpy()})
        return latents

    def _look(self, latents: torch.Tensor) -> Drawn:
        pictures = decode(self.bench.pipeline, latents)
        return Drawn(latents, pictures, observe(self.bench.classifier, pictures))


def _require_near(latents: torch.Tensor, expected: torch.Tensor) -> None:
    """Two networks of the same weights draw the same pictures, but for rounding."""
    error = float(latent_error(latents, expected).max())
    if not error < NEAR:
        raise EqualityError(
            f"the uncached run of diffusers differs from ComfyUI's by {error:.2g} of its latents; expected less than {NEAR:g}; "
            "leave cache-dit out, or take a diffusers that fits this ComfyUI"
        )

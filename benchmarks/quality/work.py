"""The jobs of the benchmark, and what a process does with them: one cell of one batch of seeds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from metrics.observation import observe
from metrics.study.cells import FEWER, HEADLINE
from metrics.study.crew import load_bench, precision
from metrics.study.measure import LATENTS, Bench, Drawn, compare, summarise_data, write_summary
from metrics.study.store import Record, batches, read_record, record_path, write_record
from zoo.sampling import decode

from .calibration import Part, calibrate
from .cells import DATA, FEWER_STEPS, UNCACHED, Cell, data, uncached
from .code import key_of
from .engine import Engine, load_engine
from .kit import Kit, load_kit
from .sampling import draw

GRID_BATCH, HEADLINE_BATCH = 8, 16
KIT = "kit"


@dataclass(frozen=True)
class Job:
    """One cell of one batch of seeds."""

    seeds: range
    cell: Cell
    is_headline: bool
    """Whether only the summaries are kept."""

    @property
    def record(self) -> str:
        """Name of the folder of its record."""
        return f"summary_{key_of(self.cell)}" if self.is_headline else key_of(self.cell)

    @property
    def num_passes(self) -> int:
        """About how many forward passes it takes."""
        return len(self.seeds) * self.cell.num_passes


def open_jobs(folder: Path, chosen: Sequence[Cell], num_seeds: int, num_samples: int) -> list[Job]:
    """What lacks its record.

    Args:
        folder: Of the family's records.
        chosen: The cells, the uncached run first.
        num_seeds: Seeds of the grid.
        num_samples: Seeds of the headline cells; 0 leaves them out.
    """
    jobs = [
        Job(seeds, cell, False)
        for seeds in batches(num_seeds, GRID_BATCH)
        for cell in chosen
        if cell.num_seeds is None or seeds.start < cell.num_seeds
    ]
    headline = [*(cell for cell in chosen if cell.is_headline), data()]
    jobs += [Job(seeds, cell, True) for seeds in batches(num_samples, HEADLINE_BATCH) for cell in headline]
    return [job for job in jobs if not record_path(folder, job.record, job.seeds).is_file()]


def take_over(evaluated: Path, folder: Path) -> None:
    """Copy the headline records that `zoo evaluate` has of the same model at the same settings.

    Args:
        evaluated: Its records of the model.
        folder: Ours.
    """
    fewer_name = f"{FEWER_STEPS}_{FEWER.steps}"
    for theirs, ours in ((HEADLINE.name, UNCACHED), (FEWER.name, fewer_name), (DATA, DATA)):
        for path in sorted((evaluated / f"summary_{theirs}").glob("*.npz")):
            target = folder / f"summary_{ours}" / path.name
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


@dataclass(frozen=True)
class Order:
    """What a process needs to know."""

    model: str
    folder: Path
    uses_bfloat16: bool
    """Whether the headline cells are drawn and decoded in bfloat16; the grid is always float32."""

    def begin(self) -> Callable[[Job | Part], None]:
        """Load the models and return what does one job or calibration."""
        return Hand(load_engine(), load_bench(self.model, self.folder), self.uses_bfloat16).do


class Hand:
    """Does jobs; keeps the reference of the batch of seeds that it is at."""

    def __init__(self, engine: Engine, bench: Bench, uses_bfloat16: bool) -> None:
        """Begin without a reference; the kit is read when it is first needed."""
        self.engine, self.bench, self._uses_bfloat16 = engine, bench, uses_bfloat16
        self._reference: tuple[range, Drawn] | None = None
        self._kit: Kit | None = None

    def do(self, job: Job | Part) -> None:
        """Calibrate, or draw and measure one cell; not what another run on the same records has done since."""
        if isinstance(job, Part):
            calibrate(self.engine, self.bench.pipeline, job, self.bench.folder / KIT)
            self._kit = None
        elif record_path(self.bench.folder, job.record, job.seeds).is_file():
            return
        elif job.is_headline:
            self._summarise(job)
        else:
            self._measure(job)

    @property
    def kit(self) -> Kit:
        """What calibration has made."""
        if self._kit is None:
            self._kit = load_kit(self.engine, self.bench.pipeline.model, self.bench.folder / KIT)
        return self._kit

    def _summarise(self, job: Job) -> None:
        if job.cell.method == DATA:
            summarise_data(self.bench, job.seeds)
            return
        pipeline = self.bench.pipeline
        with precision(self._uses_bfloat16):
            pictures = decode(pipeline, draw(self.kit, pipeline, job.cell, job.seeds).latents)
        write_summary(self.bench, job.record, pictures, job.seeds)

    def _measure(self, job: Job) -> None:
        """Draw and measure a cell against the uncached run of the same seeds; of that the latents are kept too."""
        reference = self._reference_of(job.seeds)
        if job.cell.name == UNCACHED:
            return
        batch = draw(self.kit, self.bench.pipeline, job.cell, job.seeds)
        ratios: Record = {"refresh": np.array(batch.refresh), "cost": np.array(batch.cost)}
        self._write(job, ratios | compare(self._look(batch.latents), reference))

    def _reference_of(self, seeds: range) -> Drawn:
        if self._reference is None or self._reference[0] != seeds:
            job = Job(seeds, uncached(), False)
            path = record_path(self.bench.folder, job.record, seeds)
            if path.is_file():
                latents = torch.from_numpy(read_record(path)[LATENTS])
            else:
                latents = draw(self.kit, self.bench.pipeline, job.cell, seeds).latents
                self._write(job, {LATENTS: latents.numpy()})
            self._reference = seeds, self._look(latents)
        return self._reference[1]

    def _look(self, latents: torch.Tensor) -> Drawn:
        pictures = decode(self.bench.pipeline, latents)
        return Drawn(latents, pictures, observe(self.bench.classifier, pictures))

    def _write(self, job: Job, record: Record) -> None:
        write_record(record_path(self.bench.folder, job.record, job.seeds), record)

"""What a study's processes do: load a model, the autoencoder and the classifier, and draw cells."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from zoo.sampling import decode, load_pipeline, sample_latents

from ..classifier import load_classifier
from ..crew import Pace
from ..observation import observe
from .cells import Cell, requests
from .jobs import HEADLINE_BATCH, Job
from .measure import Bench, SeedBatch, summarise_cell, summarise_data

_PROBE = Cell("euler", 2)


@dataclass(frozen=True)
class Order:
    """What a process needs to know."""

    model: str
    folder: Path
    uses_bfloat16: bool
    """Whether the headline cells are drawn and decoded in bfloat16; the grid is always float32."""

    def begin(self) -> Callable[[Job], None]:
        """Load the models and return what draws and measures one cell of one batch of seeds."""
        return _Hand(load_bench(self.model, self.folder), self.uses_bfloat16).do


def load_bench(model: str, folder: Path) -> Bench:
    """Load a model, its autoencoder and the classifier, on one thread; records are kept in `folder`."""
    torch.set_num_threads(1)
    bench = Bench(load_pipeline(model), load_classifier(), folder)
    # Twice as fast for the decoder's convolutions; the host gives the weights as they lie in the file.
    bench.pipeline.vae.first_stage_model.to(memory_format=torch.channels_last)
    return bench


@contextmanager
def precision(is_bfloat16: bool) -> Iterator[None]:
    """Matrix products and convolutions in bfloat16, the rest in float32; or all of it in float32."""
    with warnings.catch_warnings(), torch.autocast(device_kind(), torch.bfloat16, enabled=is_bfloat16):
        # The weights of the norms stay float32, which PyTorch finds worth a warning.
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        yield


def device_kind() -> str:
    """Where the host computes: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def measure_pace(bench: Bench, is_bfloat16: bool) -> Pace:
    """Draw two steps of one headline batch, decode and look at it."""
    asked = requests(_PROBE, range(HEADLINE_BATCH))
    with precision(is_bfloat16):
        sample_latents(bench.pipeline, asked)
        started = time.perf_counter()
        latents = sample_latents(bench.pipeline, asked)
        drawn = time.perf_counter()
        pictures = decode(bench.pipeline, latents)
    observe(bench.classifier, pictures)
    ended = time.perf_counter()
    num_passes = HEADLINE_BATCH * _PROBE.num_passes
    return Pace((drawn - started) / num_passes, (ended - drawn) / HEADLINE_BATCH)


class _Hand:
    """Does jobs; keeps the references of the batch of seeds that it is at."""

    def __init__(self, bench: Bench, uses_bfloat16: bool) -> None:
        self._bench, self._uses_bfloat16 = bench, uses_bfloat16
        self._batch = SeedBatch(bench, range(0))

    def do(self, job: Job) -> None:
        """Draw and measure one cell of one batch of seeds."""
        if job.seeds != self._batch.seeds:
            self._batch = SeedBatch(self._bench, job.seeds)
        if job.cell is None:
            summarise_data(self._bench, job.seeds)
        elif job.is_headline:
            pipeline = self._bench.pipeline
            with precision(self._uses_bfloat16):
                pictures = decode(pipeline, sample_latents(pipeline, requests(job.cell, job.seeds)))
            summarise_cell(self._bench, job.cell, job.seeds, pictures)
        else:
            self._batch.measure(job.cell)

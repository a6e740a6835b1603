"""Does a study's jobs in several processes: each loads the models for itself and computes single-threaded.

The numbers do not depend on how many processes there are, because a batch is always computed in one.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from zoo.sampling import decode, load_pipeline, sample_latents

from ..classifier import load_classifier
from ..observation import observe
from .cells import Cell, requests
from .jobs import HEADLINE_BATCH, Job, share_out
from .measure import Bench, SeedBatch, summarise_cell, summarise_data

_REPORT_SECONDS = 20.0
_PROBE = Cell("euler", 2)


@dataclass(frozen=True)
class Order:
    """What a process needs to know."""

    model: str
    folder: Path
    uses_bfloat16: bool
    """Whether the headline cells are drawn and decoded in bfloat16; the grid is always float32."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one process per forward pass and per picture decoded and looked at."""

    per_pass: float
    per_picture: float

    def seconds(self, jobs: Sequence[Job]) -> float:
        """Time that one process needs."""
        pictures = sum(len(job.seeds) for job in jobs)
        return self.per_pass * sum(job.num_passes for job in jobs) + self.per_picture * pictures


def load_bench(order: Order) -> Bench:
    """Load a model, its autoencoder and the classifier, on one thread."""
    torch.set_num_threads(1)
    bench = Bench(load_pipeline(order.model), load_classifier(), order.folder)
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


def work(order: Order, jobs: Sequence[Job], pace: Pace, name: str) -> None:
    """Do jobs one after the other and say how far it is."""
    bench = load_bench(order)
    batch = SeedBatch(bench, range(0))
    whole, started = pace.seconds(jobs), time.perf_counter()
    reported = started
    for index, job in enumerate(jobs):
        if job.seeds != batch.seeds:
            batch = SeedBatch(bench, job.seeds)
        do_job(bench, batch, job, order.uses_bfloat16)
        now = time.perf_counter()
        if now - reported >= _REPORT_SECONDS or index + 1 == len(jobs):
            left = pace.seconds(jobs[index + 1 :]) / max(1e-9, whole - pace.seconds(jobs[index + 1 :]))
            _say(
                f"{name}  {index + 1} of {len(jobs)}  {job.record}  about {left * (now - started) / 60.0:.1f} min left"
            )
            reported = now


def do_job(bench: Bench, batch: SeedBatch, job: Job, uses_bfloat16: bool) -> None:
    """Draw and measure one cell of one batch of seeds."""
    if job.cell is None:
        summarise_data(bench, job.seeds)
    elif job.is_headline:
        with precision(uses_bfloat16):
            pictures = decode(bench.pipeline, sample_latents(bench.pipeline, requests(job.cell, job.seeds)))
        summarise_cell(bench, job.cell, job.seeds, pictures)
    else:
        batch.measure(job.cell)


def do_all(order: Order, jobs: Sequence[Job], pace: Pace, num_workers: int) -> None:
    """Do all jobs in `num_workers` processes, or in this one if that is 1.

    Raises:
        RuntimeError: If a process failed; its message stands above.
    """
    hands = share_out(jobs, num_workers)
    if num_workers == 1:
        for hand in hands:
            work(order, hand, pace, order.model)
        return
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=work, args=(order, hand, pace, f"{order.model} {number}/{len(hands)}"), daemon=True
        )
        for number, hand in enumerate(hands, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = [process.exitcode for process in processes if process.exitcode]
    if failed:
        raise RuntimeError(
            f"zoo: {len(failed)} of {len(processes)} processes ended with {failed}; expected 0; read their messages "
            "above; what was measured so far is kept, so run the same command again"
        )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

"""Does jobs in several processes: each loads the models for itself and computes single-threaded.

The numbers do not depend on how many processes there are, because a batch is always computed in one.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

_REPORT_SECONDS = 20.0


class Task(Protocol):
    """What a crew must know of a job."""

    @property
    def seeds(self) -> range:
        """The pictures it is about."""

    @property
    def is_headline(self) -> bool:
        """Whether it belongs to the many pictures of a Frechet distance."""

    @property
    def record(self) -> str:
        """What to call it."""

    @property
    def num_passes(self) -> int:
        """About how many forward passes of the model it takes."""


class Order(Protocol):
    """What a process is told; it can be sent to another process."""

    @property
    def model(self) -> str:
        """Name of the model."""

    def begin(self) -> Callable[[Any], None]:
        """Load what is needed and return what does one job."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one process per forward pass and per picture decoded and looked at."""

    per_pass: float
    per_picture: float

    def seconds(self, jobs: Sequence[Task]) -> float:
        """Time that one process needs."""
        pictures = sum(len(job.seeds) for job in jobs)
        return self.per_pass * sum(job.num_passes for job in jobs) + self.per_picture * pictures


def work(order: Order, jobs: Sequence[Task], pace: Pace, name: str) -> None:
    """Do jobs one after the other and say how far it is."""
    do = order.begin()
    whole, started = pace.seconds(jobs), time.perf_counter()
    reported = started
    for index, job in enumerate(jobs):
        do(job)
        now = time.perf_counter()
        if now - reported >= _REPORT_SECONDS or index + 1 == len(jobs):
            left = pace.seconds(jobs[index + 1 :]) / max(1e-9, whole - pace.seconds(jobs[index + 1 :]))
            _say(
                f"{name}  {index + 1} of {len(jobs)}  {job.record}  about {left * (now - started) / 60.0:.1f} min left"
            )
            reported = now


def share_out(jobs: Sequence[Any], num_workers: int) -> list[list[Any]]:
    """Deal the jobs to the workers; those of one batch of seeds stay together, for its references' sake."""
    hands: list[list[Any]] = [[] for _ in range(num_workers)]
    groups = groupby(jobs, key=lambda job: (job.is_headline, job.seeds.start))
    for _, group in groups:
        lightest = min(hands, key=lambda hand: sum(job.num_passes for job in hand))
        lightest.extend(group)
    return [hand for hand in hands if hand]


def do_all(order: Order, jobs: Sequence[Task], pace: Pace, num_workers: int) -> None:
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
            f"{order.model}: {len(failed)} of {len(processes)} processes ended with {failed}; expected 0; read their "
            "messages above; what was measured so far is kept, so run the same command again"
        )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

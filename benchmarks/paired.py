"""Variants of one prompt, run side by side in a server: what is compared was measured within the same minute."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from client import Comfy, Executed, Prompt
from comparison import Measured, Variant
from graphs import node_of, with_inputs
from tqdm import tqdm

WARM_UP_SEEDS = (1001, 1002, 1003, 1004)


@dataclass(frozen=True, slots=True)
class Job:
    """A caption and a seed."""

    caption: str
    seed: int


class Paired:
    """Runs variants of one prompt job by job."""

    def __init__(self, server: Comfy, uncached: Prompt, jobs: Sequence[Job]) -> None:
        """Measure variants of `uncached`, which has one KSampler and one SaveImage, on `server`."""
        self._server = server
        self.uncached = uncached
        self.jobs = tuple(jobs)
        self.steps = _steps(uncached)
        self._positive = caption_node(uncached)

    def fewer_steps(self, steps: int) -> Prompt:
        """Return the prompt without a cache, at another number of steps."""
        return with_inputs(self.uncached, "KSampler", steps=steps)

    def steps_as_long_as(self, cached: Prompt) -> int:
        """Return how many uncached steps take as long as `cached`; loads the models and warms every path up."""
        seconds: list[tuple[float, float]] = []
        for seed in WARM_UP_SEEDS:
            job = Job(self.jobs[0].caption, seed)
            seconds.append((self.run(self.uncached, job)[1], self.run(cached, job)[1]))
        share = median(mine / full for full, mine in seconds[1:])
        return max(1, min(self.steps, round(self.steps * share)))

    def measure(self, prompts: Mapping[str, Prompt]) -> list[Variant]:
        """Run every job with every prompt; the first prompt makes the references."""
        runs: dict[str, list[Measured]] = {name: [] for name in prompts}
        with tqdm(
            total=len(self.jobs) * len(prompts), desc="sampling", file=sys.stdout, mininterval=2
        ) as bar:
            for job in self.jobs:
                reference: tuple[Any, float] | None = None
                for name, prompt in prompts.items():
                    picture, seconds, report = self.run(prompt, job)
                    reference = reference or (picture, seconds)
                    runs[name].append(Measured(picture, reference[0], seconds, reference[1], report))
                    bar.update()
        return [Variant(name, done, _steps(prompts[name]) / self.steps) for name, done in runs.items()]

    def run(self, prompt: Prompt, job: Job) -> tuple[Any, float, dict[str, float] | None]:
        """Return the picture of one job, the sampler node's seconds, and the report where the prompt has one."""
        posted = with_inputs(prompt, "KSampler", seed=job.seed)
        posted[self._positive]["inputs"]["caption"] = job.caption
        done = self._server.run(posted)
        picture = self._server.image(done, node_of(prompt, "SaveImage"))
        return picture, done.seconds["KSampler"], _report(done)


def jobs_of(captions: Iterable[str], seeds: Iterable[int]) -> tuple[Job, ...]:
    """Return every caption with every seed; the first seed of every caption comes first."""
    shown = tuple(captions)
    return tuple(Job(caption, seed) for seed in seeds for caption in shown)


def caption_node(prompt: Prompt) -> str:
    """Return the caption node of the positive prompt, also where a guidance node stands between."""
    node = str(prompt[node_of(prompt, "KSampler")]["inputs"]["positive"][0])
    while "caption" not in prompt[node]["inputs"]:
        node = str(prompt[node]["inputs"]["conditioning"][0])
    return node


def _steps(prompt: Prompt) -> int:
    return int(prompt[node_of(prompt, "KSampler")]["inputs"]["steps"])


def _report(done: Executed) -> dict[str, float] | None:
    shown = [
        output["feature_cache_report"][0]
        for output in done.outputs.values()
        if "feature_cache_report" in output
    ]
    return shown[0] if shown else None

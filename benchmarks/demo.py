"""The main job, shown on the shipped tiny model in a running ComfyUI: uncached, cached, and fewer steps.

Posts `workflows/flux_how_much_faster.json`, after the zoo's mapping, with and without the cache node.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from client import Comfy, ComfyError, Executed, Prompt
from comparison import Measured, Row, Variant, row_of, side_by_side, table
from graphs import node_of, with_inputs, without_cache
from tqdm import tqdm
from zoo.mapping import MappingError, to_zoo

WORKFLOW = Path(__file__).resolve().parent.parent / "workflows" / "flux_how_much_faster.json"
CAPTIONS = (
    "a large dotted yellow circle at the center, on navy and maroon vertical stripes with edges",
    "a large orange ring at the bottom left, a medium green circle at the top, on sky and mint horizontal gradient with edges",
)
"""Prompts beside the workflow's own."""
SEEDS = (1, 2, 3, 4)
WARM_UP_SEEDS = (1001, 1002, 1003, 1004)


@dataclass(frozen=True, slots=True)
class Job:
    """A caption and a seed."""

    caption: str
    seed: int


class Demo:
    """Runs variants of one prompt job by job, so that what is compared was measured side by side."""

    def __init__(self, server: Comfy, prompt: Prompt) -> None:
        """Measure variants of `prompt` on `server`."""
        self._server = server
        self._prompt = prompt
        self.uncached = without_cache(prompt)
        self.steps = int(prompt[node_of(prompt, "KSampler")]["inputs"]["steps"])
        self.captions = (str(prompt[self._positive()]["inputs"]["caption"]), *CAPTIONS)
        # Pictures show the first seed of every caption, so those jobs come first.
        self.jobs = [Job(caption, seed) for seed in SEEDS for caption in self.captions]

    def cached(self, interval: int) -> Prompt:
        """Return the prompt with FORA at an interval."""
        return with_inputs(self._prompt, "FeatureCache", method__interval=interval)

    def steps_as_long_as(self, cached: Prompt) -> int:
        """Return how many uncached steps take as long as `cached`; loads the models and warms every path up."""
        seconds: list[tuple[float, float]] = []
        for seed in WARM_UP_SEEDS:
            job = Job(self.captions[0], seed)
            seconds.append((self._run(self.uncached, job)[1], self._run(cached, job)[1]))
        share = median(mine / full for full, mine in seconds[1:])
        return max(1, min(self.steps, round(self.steps * share)))

    def fewer_steps(self, steps: int) -> Prompt:
        """Return the prompt without a cache, at another number of steps."""
        return with_inputs(self.uncached, "KSampler", steps=steps)

    def measure(self, prompts: dict[str, Prompt]) -> list[Variant]:
        """Run every job with every prompt; the first prompt makes the references."""
        runs: dict[str, list[Measured]] = {name: [] for name in prompts}
        with tqdm(
            total=len(self.jobs) * len(prompts), desc="sampling", file=sys.stdout, mininterval=2
        ) as bar:
            for job in self.jobs:
                reference: tuple[Any, float] | None = None
                for name, prompt in prompts.items():
                    picture, seconds, report = self._run(prompt, job)
                    reference = reference or (picture, seconds)
                    runs[name].append(Measured(picture, reference[0], seconds, reference[1], report))
                    bar.update()
        return [Variant(name, done, self._work(prompts[name])) for name, done in runs.items()]

    def _work(self, prompt: Prompt) -> float:
        return int(prompt[node_of(prompt, "KSampler")]["inputs"]["steps"]) / self.steps

    def _run(self, prompt: Prompt, job: Job) -> tuple[Any, float, dict[str, float] | None]:
        posted = with_inputs(prompt, "KSampler", seed=job.seed)
        posted[self._positive()]["inputs"]["caption"] = job.caption
        done = self._server.run(posted)
        picture = self._server.image(done, node_of(prompt, "SaveImage"))
        return picture, done.seconds["KSampler"], _report(done)

    def _positive(self) -> str:
        """Return the caption node of the positive prompt, also where a guidance node stands between."""
        node = str(self._prompt[node_of(self._prompt, "KSampler")]["inputs"]["positive"][0])
        while "caption" not in self._prompt[node]["inputs"]:
            node = str(self._prompt[node]["inputs"]["conditioning"][0])
        return node


def _report(done: Executed) -> dict[str, float] | None:
    shown = [
        output["feature_cache_report"][0]
        for output in done.outputs.values()
        if "feature_cache_report" in output
    ]
    return shown[0] if shown else None


def show(server: Comfy, tools_python: Path, output: Path, record: Path | None = None) -> None:
    """Measure, print the table and write the picture, and the numbers to `record` where it is given.

    Raises:
        ComfyError: If the server refuses or fails.
        MappingError: If the workflow has a node that the zoo cannot replace.
    """
    workflow, changes = to_zoo(json.loads(WORKFLOW.read_text(encoding="utf-8")))
    print(f"workflows/{WORKFLOW.name}, on the zoo's tiny model:", *changes, sep="\n  ", flush=True)
    demo = Demo(server, server.to_prompt(workflow, tools_python))
    print("warming up, and counting the steps that take as long as each cache", flush=True)
    prompts = {f"uncached, {demo.steps} steps": demo.uncached, "FORA, interval 1": demo.cached(1)}
    for interval in (2, 3):
        steps = demo.steps_as_long_as(demo.cached(interval))
        prompts |= {
            f"FORA, interval {interval}": demo.cached(interval),
            f"fewer steps: {steps}": demo.fewer_steps(steps),
        }
    variants = demo.measure(prompts)
    rows = [row_of(variant) for variant in variants]
    print("", table(rows), "", _explained(len(demo.jobs)), sep="\n")
    if record is not None:
        write_record(record, rows, len(demo.jobs))
    output.mkdir(parents=True, exist_ok=True)
    path = output / "demo.png"
    side_by_side(demo.captions, [variants[0], *variants[2:]]).save(path)
    print(f"\nPictures side by side: {path}")
    if any(run.psnr != float("inf") for run in variants[1].runs):
        raise ComfyError(
            "Interval 1 must give the uncached picture to the bit, and it did not: please report this."
        )


def _explained(num_jobs: int) -> str:
    return (
        f"Median of {num_jobs} pairs on this machine. Seconds are the sampler node's wall time; measured is against the\n"
        "uncached run of the same seed. PSNR and relative error are against that run's saved picture. 'Fewer steps'\n"
        "takes as long as the row above it: the cache is worth it where its picture is nearer."
    )


def write_record(path: Path, rows: Sequence[Row], num_jobs: int) -> None:
    """Write the rows as JSON, with what they were measured on; the documentation is made from it."""
    facts = {
        "command": "python dev.py demo",
        "pairs": num_jobs,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(facts | {"rows": [asdict(row) for row in rows]}, indent=2)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo against a server; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--server", required=True, help="address of a running ComfyUI with this pack and the zoo's"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--tools-python", type=Path, required=True, help="interpreter that has comfy-cli")
    parser.add_argument("--record", type=Path, help="also write the numbers to this JSON file")
    given = parser.parse_args(arguments)
    try:
        show(Comfy(given.server), given.tools_python, given.output, given.record)
    except (ComfyError, MappingError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

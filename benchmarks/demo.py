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
from typing import Any

import torch
from client import Comfy, ComfyError, Executed, Prompt
from comparison import Measured, Row, Variant, row_of, side_by_side, table
from graphs import node_of, with_inputs, without_cache
from tqdm import tqdm
from zoo.mapping import MappingError, to_zoo

WORKFLOW = Path(__file__).resolve().parent.parent / "workflows" / "flux_how_much_faster.json"
CAPTIONS = (
    'the word "STAR" in sans white at the bottom, a large dotted yellow star at the center, on plain navy with edges',
    "a large green heart at the left, a medium checked purple square at the top right, on plain peach with shadows",
)
"""Prompts beside the workflow's own."""
SEEDS = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Job:
    """A caption and a seed."""

    caption: str
    seed: int


class Demo:
    """Runs variants of one prompt and pairs each run with the uncached run of the same job."""

    def __init__(self, server: Comfy, prompt: Prompt) -> None:
        """Measure variants of `prompt` on `server`."""
        self._server = server
        self._prompt = prompt
        self.steps = int(prompt[node_of(prompt, "KSampler")]["inputs"]["steps"])
        own = self._captions()[0]
        # Pictures show the first seed of every caption, so those jobs come first.
        self.captions = (own, *CAPTIONS)
        self.jobs = [Job(caption, seed) for seed in SEEDS for caption in self.captions]
        self._references: list[tuple[Any, float]] = []

    def warm_up(self) -> None:
        """Load the models and touch every path once, unmeasured."""
        self._run("warm-up", self._prompt, Job(self.captions[0], 0))
        self._run("warm-up", without_cache(self._prompt), Job(self.captions[0], 0))

    def uncached(self) -> Variant:
        """Run every job without a cache; these are the references."""
        runs = []
        for job in tqdm(self.jobs, desc="uncached", file=sys.stdout):
            picture, seconds, _ = self._run("uncached", without_cache(self._prompt), job)
            self._references.append((picture, seconds))
            runs.append(
                Measured(picture=picture, reference=picture, seconds=seconds, reference_seconds=seconds)
            )
        return Variant(name=f"uncached, {self.steps} steps", runs=runs)

    def cached(self, interval: int) -> Variant:
        """Run every job with FORA at an interval."""
        prompt = with_inputs(self._prompt, "FeatureCache", method__interval=interval)
        return Variant(name=f"FORA, interval {interval}", runs=self._measure(f"interval {interval}", prompt))

    def fewer_steps(self, variant: Variant) -> Variant:
        """Run every job with the number of steps that takes as long as `variant`."""
        steps = max(1, min(self.steps, round(self.steps / variant.speedup)))
        prompt = with_inputs(without_cache(self._prompt), "KSampler", steps=steps)
        runs = self._measure(f"{steps} steps", prompt)
        return Variant(name=f"fewer steps: {steps}", runs=runs, work=steps / self.steps)

    def _measure(self, label: str, prompt: Prompt) -> list[Measured]:
        runs = []
        for job, (reference, reference_seconds) in zip(
            tqdm(self.jobs, desc=label, file=sys.stdout), self._references, strict=True
        ):
            picture, seconds, report = self._run(label, prompt, job)
            runs.append(
                Measured(
                    picture=picture,
                    reference=reference,
                    seconds=seconds,
                    reference_seconds=reference_seconds,
                    report=report,
                )
            )
        return runs

    def _run(self, label: str, prompt: Prompt, job: Job) -> tuple[Any, float, dict[str, float] | None]:
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

    def _captions(self) -> list[str]:
        return [self._prompt[self._positive()]["inputs"]["caption"]]


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
    demo.warm_up()
    variants = [demo.uncached(), demo.cached(1), demo.cached(2)]
    variants.append(demo.fewer_steps(variants[2]))
    variants.append(demo.cached(3))
    variants.append(demo.fewer_steps(variants[4]))
    rows = [row_of(variant) for variant in variants]
    print("", table(rows), "", _explained(len(demo.jobs)), sep="\n")
    if record is not None:
        write_record(record, rows, len(demo.jobs))
    output.mkdir(parents=True, exist_ok=True)
    path = output / "demo.png"
    side_by_side(demo.captions, [variants[i] for i in (0, 2, 3, 4, 5)]).save(path)
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

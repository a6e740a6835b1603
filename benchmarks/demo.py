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
from dataclasses import asdict
from pathlib import Path

import torch
from client import Comfy, ComfyError, Prompt
from comparison import Row, row_of, side_by_side, table
from gallery import caches
from gallery.caches import Widgets
from graphs import with_cache, without_cache
from paired import Paired, caption_node, jobs_of
from zoo.mapping import MappingError, to_zoo

WORKFLOW = Path(__file__).resolve().parent.parent / "workflows" / "flux_how_much_faster.json"
CAPTIONS = (
    "a large dotted yellow circle at the center, on navy and maroon vertical stripes with edges",
    "a large orange ring at the bottom left, a medium green circle at the top, on sky and mint horizontal gradient with edges",
)
"""Prompts beside the workflow's own."""
SEEDS = (1, 2, 3, 4)

EXACT = "Step List, 1x"
CONTENDERS = {
    "Step List": caches.step_list(),
    "Step List, 3x": caches.step_list(3.0),
    "FORA": caches.fora(interval=2),
}
"""What is compared with fewer steps: the default, faster than that, and the plainest of the published methods."""


class Demo(Paired):
    """The variants of the shipped workflow's prompt."""

    def __init__(self, server: Comfy, prompt: Prompt) -> None:
        """Measure variants of `prompt` on `server`."""
        self._prompt = prompt
        self.captions = (str(prompt[caption_node(prompt)]["inputs"]["caption"]), *CAPTIONS)
        # Pictures show the first seed of every caption, so those jobs come first.
        super().__init__(server, without_cache(prompt), jobs_of(self.captions, SEEDS))

    def cached(self, widgets: Widgets) -> Prompt:
        """Return the prompt with other settings of the cache node."""
        return with_cache(self._prompt, widgets)


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
    prompts = {f"uncached, {demo.steps} steps": demo.uncached, EXACT: demo.cached(caches.step_list(1.0))}
    for name, widgets in CONTENDERS.items():
        cached = demo.cached(widgets)
        steps = demo.steps_as_long_as(cached)
        prompts |= {name: cached, f"as long as {name}: {steps} steps": demo.fewer_steps(steps)}
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
            "A speedup of 1 must give the uncached picture to the bit, and it did not: please report this."
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

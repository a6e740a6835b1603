"""Step List and FORA beside ComfyUI's own caches and fewer steps, through a real server: `python dev.py bench server`.

Every model of the zoo, 20 Euler steps at cfg 4. Each job (a caption and a seed) runs with every variant in turn, so that
what is compared was measured within the same minute; seconds are the sampler node's. *Fewer steps* takes as long as
the row above it. Calls skipped by LazyCache and EasyCache are those that ComfyUI's log counts.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from client import Comfy, ComfyError, Prompt
from comparison import Row, Variant, row_of
from gallery import caches
from paired import Paired, jobs_of
from server_graphs import HOSTS_CACHES, LOADERS, plain, with_hosts_cache, with_ours

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
CAPTIONS = (
    "a large red circle on the left, a small blue square on the right, plain white background",
    "a large dotted yellow circle at the center, on navy and maroon vertical stripes with edges",
    "a large orange ring at the bottom left, a medium green circle at the top, on sky and mint horizontal gradient with edges",
)
SPEEDUPS, INTERVALS = (2.0, 3.0), (2, 3)
SKIPPED = re.compile(r"(?:Lazy|Easy)Cache - skipped (\d+)/(\d+) steps")
NOTE = """\
Medians of the pairs; measured is the speedup against the uncached run of the same caption and seed, ideal what the skipped
work would give if all else were free. Refresh ratio counts features, cost ratio weighs them by their time. PSNR and
relative error are of saved pictures against the uncached one. ComfyUI's caches do not report what they cost; for them both
ratios are the share of calls that they did not skip. EasyCache cannot skip anything in SD3 and PixArt, which never call
the wrapper that it lives in, and does not say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How much is measured."""

    families: tuple[str, ...]
    steps: int
    seeds: int

    @property
    def num_pairs(self) -> int:
        """Pairs behind every row."""
        return self.seeds * len(CAPTIONS)


def measure(server: Comfy, log: Path, family: str, setting: Setting) -> list[Row]:
    """Return the rows of one family."""
    uncached = plain(family, setting.steps)
    paired = Paired(server, uncached, jobs_of(CAPTIONS, range(1, setting.seeds + 1)))
    kept: dict[str, float] = {}
    prompts = {f"uncached, {setting.steps} steps": uncached}
    for name, prompt in _variants(uncached):
        begin = log.stat().st_size
        steps = paired.steps_as_long_as(prompt)
        if name in HOSTS_CACHES:
            kept[name] = _share_computed(log, begin)
        prompts |= {name: prompt} | (
            {f"fewer steps: {steps}": paired.fewer_steps(steps)} if steps < setting.steps else {}
        )
    return [_row(variant, kept) for variant in paired.measure(prompts)]


def _variants(uncached: Prompt) -> Iterator[tuple[str, Prompt]]:
    for speedup in SPEEDUPS:
        yield f"Step List, {speedup:g}x", with_ours(uncached, caches.step_list(speedup))
    for interval in INTERVALS:
        yield f"FORA, interval {interval}", with_ours(uncached, caches.fora(interval))
    for name in HOSTS_CACHES:
        yield name, with_hosts_cache(uncached, name)


def _share_computed(log: Path, begin: int) -> float:
    """Return the share of calls that a cache of the host's did not skip, by what was logged from `begin` on.

    Raises:
        ComfyError: If it logged nothing.
    """
    with log.open("rb") as file:
        file.seek(begin)
        found = SKIPPED.findall(file.read().decode(errors="replace"))
    if not found:
        raise ComfyError(f"ComfyUI's log {log} does not say how many steps its own cache skipped.")
    skipped, total = (sum(map(int, column)) for column in zip(*found, strict=True))
    return 1.0 - skipped / total


def _row(variant: Variant, kept: Mapping[str, float]) -> Row:
    """Return a variant's numbers; the two ratios of a host's cache, which has no report, from its log."""
    row, share = row_of(variant), kept.get(variant.name)
    return row if share is None else replace(row, refresh=share, cost=share, ideal=1.0 / share)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| | seconds | measured | ideal | refresh ratio | cost ratio | PSNR dB | relative error |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [f"| {' | '.join(row.cells())} |" for row in rows]
    return "\n".join(lines).replace("+-", "±")


def page(record: Mapping[str, Any]) -> str:
    """Return the page of a record."""
    facts = (
        f"Written by `{record['command']}` on {record['machine']}, ComfyUI {record['comfyui']}, torch {record['torch']}: "
        f"{record['steps']} steps, {record['pairs']} pairs."
    )
    parts = ["# Through the server", inspect.cleandoc(__doc__ or ""), facts]
    for family, rows in record["families"].items():
        parts += [f"## {family}", table([Row(**row) for row in rows])]
    return "\n\n".join([*parts, NOTE]) + "\n"


def write(results: Path, record: Mapping[str, Any]) -> None:
    """Write `server.json` and `server.md` into the folder `results`."""
    results.mkdir(parents=True, exist_ok=True)
    (results / "server.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8", newline="\n")
    (results / "server.md").write_text(page(record), encoding="utf-8", newline="\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the tables; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--server", required=True, help="address of a running ComfyUI with this pack and the zoo's"
    )
    parser.add_argument("--log", type=Path, required=True, help="file with everything that the server prints")
    parser.add_argument("--families", nargs="+", choices=tuple(LOADERS), default=list(LOADERS), help="models")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=4, help="seeds per caption (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write into")
    given = parser.parse_args(arguments)
    setting = Setting(families=tuple(given.families), steps=given.steps, seeds=given.seeds)
    server = Comfy(given.server)
    record: dict[str, Any] = _facts(server, setting) | {"families": {}}
    try:
        for family in setting.families:
            rows = measure(server, given.log, family, setting)
            print(f"\n{family}\n{table(rows)}\n", flush=True)
            record["families"][family] = [asdict(row) for row in rows]
            write(given.results, record)
    except ComfyError as error:
        print(f"\nThe benchmark failed: {error}", file=sys.stderr)
        return 1
    return 0


def _facts(server: Comfy, setting: Setting) -> dict[str, Any]:
    return {
        "command": "python dev.py bench server",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "comfyui": server.version(),
        "torch": torch.__version__,
        "steps": setting.steps,
        "pairs": setting.num_pairs,
    }


if __name__ == "__main__":
    sys.exit(main())

"""Tables, record and page of what was measured at full size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .rows import Row

TARGETS = {"cuda": 0.97, "cpu": 0.95}
"""Measured over ideal speedup that is aimed at."""
MEGABYTE = 1024 * 1024

TIMES = """\
Seconds are those of sampling one picture: medians, with the range, over so many *pairs* of a cached picture and the uncached ones
before and after it; text encoder and decoder take no part. *measured* is the uncached picture's time in calls of the diffusion model
over the cached one's. *ideal* is that time of the uncached picture over the same less the measured time of the site work that was
not run; *measured / ideal* is the part of it that is reached. *refresh* is computed over all site evaluations. *device* is the most
device memory in use, over the uncached picture's; *features* what of it, or of host memory, the cache holds."""

COMPILED = """\
With torch.compile the uncached network is compiled as a whole by ComfyUI's own node, and the cached blocks run uncompiled; times are
against the compiled uncached picture. A compiled graph does not show what its sites take, so *ideal* is the one without."""

LOSSES = """\
Where the rest of the ideal goes, in percent of the cached picture's time in calls. *lost* is what the ideal would not take: *copies*
puts features where they are held and sums them up, to see whether they are finite; *stand-ins* makes what is handed out in their
place, on the way back from host memory too; *deciding* compares what a schedule looks at and waits for the answer, from the device's
first work on it until the host goes on; *other* is what remains: our Python where the device has to wait for it, what runs slower
beside a cache, and noise. Copies, stand-ins and deciding come from a picture of their own, with clocks around them. *idle* is the
share of a picture's time in which the device ran nothing, by the profiler, without a cache and with it: the difference is our Python
and waiting; the CPU has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One network, without torch.compile or with it, and what it was measured on.

    Attributes:
        kind: "cuda" or "cpu".
        machine: Name of the device.
        how: Versions and settings, as text.
        size: Width, blocks, pixels and type, as text.
        backend: Of torch.compile; "" for none.
    """

    kind: str
    machine: str
    how: str
    network: str
    size: str
    backend: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """The network, and whether it is compiled."""
        return f"{self.network}, torch.compile" if self.backend else self.network


def table(studies: Iterable[Study]) -> str:
    """Return seconds, speedups and memory as Markdown."""
    head = "| network | setting | pairs | seconds | uncached | measured | ideal | measured / ideal | refresh | device MB | features MB |"
    lines = [head, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for study in studies:
        lines += [f"| {study.title} | {_times(row, study.kind)} |" for row in study.rows]
    return "\n".join(lines)


def losses_table(studies: Iterable[Study]) -> str:
    """Return where the time goes as Markdown; without the rows in which it was not measured."""
    lines = ["| network | setting | lost | copies | stand-ins | deciding | other | idle uncached | cached |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for study in studies:
        shown = [row for row in study.rows if row.rest is not None]
        lines += [f"| {study.title} | {row.setting} | {_shares(row)} |" for row in shown]
    return "\n".join(lines)


def verdict(studies: Sequence[Study]) -> str:
    """Return how the rows without torch.compile stand to what is aimed at."""
    found = [(row, study) for study in studies if not study.backend for row in study.rows]
    if not found:
        return "Nothing was measured without torch.compile."
    target = TARGETS[studies[0].kind]
    reached = [row for row, _ in found if row.efficiency >= target]
    least, study = min(found, key=lambda one: one[0].efficiency)
    return (
        f"{len(reached)} of {len(found)} rows without torch.compile reach {target:.0%} of the ideal speedup; the least is "
        f"{least.efficiency:.1%}, {study.network}, {least.setting}."
    )


def merged(known: Sequence[Study], new: Iterable[Study]) -> list[Study]:
    """Return all studies: new ones in the place of those of the same network on the same machine."""
    by_subject = {_subject(study): study for study in known}
    return list((by_subject | {_subject(study): study for study in new}).values())


def read_studies(path: Path) -> list[Study]:
    """Return the studies of a record; none if there is no such file."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["studies"]
    return [Study(**one | {"rows": tuple(_read_row(row) for row in one["rows"])}) for one in found]


def write(folder: Path, studies: Sequence[Study], about: str) -> None:
    """Write record and page.

    Args:
        folder: Where to.
        studies: All of them.
        about: What the page begins with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {"command": "python dev.py bench gpu", "studies": [asdict(study) for study in studies]}
    (folder / "gpu.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8", newline="\n")
    (folder / "gpu.md").write_text(page(studies, about), encoding="utf-8", newline="\n")


def page(studies: Sequence[Study], about: str) -> str:
    """Return the page: a section per machine."""
    parts = ["# Full-size speed", about, TIMES]
    for machine in dict.fromkeys(study.machine for study in studies):
        parts += _section(machine, [study for study in studies if study.machine == machine])
    return "\n\n".join(parts) + "\n"


def _section(machine: str, studies: Sequence[Study]) -> list[str]:
    sizes = dict.fromkeys(f"{study.network}: {study.size}; {study.how}." for study in studies)
    parts = [f"## {machine}", "\n".join(f"* {size}" for size in sizes), verdict(studies), table(studies)]
    parts += [COMPILED] if any(study.backend for study in studies) else []
    return [*parts, LOSSES, losses_table(studies)]


def _subject(study: Study) -> tuple[str, str, str]:
    return study.machine, study.network, study.backend


def _read_row(given: dict[str, Any]) -> Row:
    ranges = {name: tuple(given[name]) for name in ("seconds_range", "efficiency_range")}
    return Row(**given | ranges)


def _times(row: Row, kind: str) -> str:
    least, most = row.seconds_range
    low, high = row.efficiency_range
    extra = f"{row.extra_bytes / MEGABYTE:,.0f}" if kind == "cuda" else "-"
    return (
        f"{row.setting} | {row.rounds} | {row.seconds:.2f} ({least:.2f} to {most:.2f}) | {row.plain_seconds:.2f} | {row.measured:.2f}x "
        f"| {row.ideal:.2f}x | {row.efficiency:.1%} ({low:.1%} to {high:.1%}) | {row.refresh:.2f} "
        f"| {extra} | {row.held_bytes / MEGABYTE:,.1f}"
    )


def _shares(row: Row) -> str:
    shares = (row.lost, row.copies, row.stand_ins, row.deciding, row.rest, row.plain_idle, row.idle)
    return " | ".join("-" if share is None else f"{share:.1%}" for share in shares)

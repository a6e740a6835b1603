"""Writes the benchmark of routers: numbers as JSON, tables as Markdown, plots as PNG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..cells import UNCACHED
from ..distances import Distance
from ..results import Row
from ..tables import FAMILIES, Record, assembled, full_table, read_studies, short_table, spell_percent
from ..tables import table as markdown
from .findings import Pair, Randoms
from .plots import draw
from .verdicts import EXPECTATIONS, found, spell_gain

NAME = "routers"

_INTRODUCTION = """\
# Trained routers, measured

Routers that `python dev.py zoo routers` has trained for the zoo's models, against the uncached run, against what needs no
training (FORA cached as much by its window of steps, random routers, the same router with its steps reversed), and against fewer
steps that cost as much or take as long: `python dev.py bench routers`. Columns are those of [methods, measured](methods.md).

The routers were trained on captions that nothing here measures. A router's percent is what it was asked for in training; *refresh*
is what was computed, and the command stops where that is not what the router's file says. FORA's window of 20 % stands beside
the router of 22 %, which is as near as whole steps come. Random routers draw the first 8 seeds, and are compared on those."""


@dataclass(frozen=True)
class Study:
    """All that was found about a family's routers.

    Attributes:
        note: How it was measured, as a paragraph.
        missing: Trained files that are not there yet.
    """

    model: str
    note: str
    missing: Sequence[str]
    rows: Sequence[Row]
    distances: Sequence[Distance]
    pairs: Sequence[Pair]
    randoms: Sequence[Randoms]


def table(study: Study) -> str:
    """The rows in short, for a terminal."""
    return short_table(to_record(study)["rows"])


def to_record(study: Study) -> Record:
    """The study as it is kept in its JSON file."""
    # As it will be read: tuples become lists.
    plain: Record = json.loads(json.dumps(asdict(study)))
    return plain


def write_study(study: Study, folder: Path) -> None:
    """Write a family's JSON file and plot, and the page of all families measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    record = to_record(study)
    path = folder / f"{NAME}_{study.model}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(record, path.with_suffix(".png"))
    (folder / f"{NAME}.md").write_text(page(read_studies(folder, NAME)), encoding="utf-8", newline="\n")


def page(studies: Sequence[Record]) -> str:
    """The page of some families."""
    expected = "\n".join(f"{number}. {text}" for number, (text, _) in enumerate(EXPECTATIONS, 1))
    beginning = [
        _INTRODUCTION,
        "## What was expected, written before measuring",
        expected,
        "## What was found",
    ]
    return assembled(beginning, studies, found, _section)


def _section(study: Record) -> list[str]:
    model = study["model"]
    parts = [f"## {FAMILIES[model]}"]
    if study["missing"]:
        parts.append(f"Not trained yet, and so not here: {', '.join(study['missing'])}.")
    parts += [f"![Routers over cost and time]({NAME}_{model}.png)", full_table(study["rows"]), study["note"]]
    if study["distances"]:
        parts += ["### Distance to the data", distance_table(study)]
    if study["pairs"]:
        parts += ["### One against another", pair_table(study)]
    if study["randoms"]:
        parts += ["### Among random routers", random_table(study)]
    return parts


def distance_table(study: Record) -> str:
    """Frechet distances of the headline cells, and how much farther than the uncached run they are, paired by seed."""
    head = (
        "",
        "refresh",
        "time",
        "Frechet to the data",
        "against the uncached run",
        "Frechet to the uncached pictures",
    )
    rows = {row["name"]: row for row in study["rows"]}
    [base] = [one["to_data"] for one in study["distances"] if one["name"] == UNCACHED]
    lines = []
    for one in study["distances"]:
        row = rows.get(one["name"])
        known = row is not None and row["time"] is not None
        lines.append(
            (
                one["label"],
                f"{row['refresh']:.3f}" if row else "",
                f"{row['time']:.2f}" if row and known else "",
                f"{one['to_data']:.4f}",
                "" if one["name"] == UNCACHED else spell_percent(one["excess"], base),
                f"{one['to_uncached']:.5f}",
            )
        )
    return markdown(head, lines)


def pair_table(study: Record) -> str:
    """Who beats whom, paired by seed; a negative change of the Frechet distance is nearer to the data."""
    head = (
        "",
        "against",
        "PSNR dB",
        "change of the Frechet distance to the data",
        "the paper's change of FID",
    )
    lines = [
        (
            one["label"],
            one["against_label"],
            "-" if one["gain"] is None else spell_gain(one["gain"]),
            "-" if one["change"] is None else spell_percent(one["change"], one["other_distance"]),
            _published(one),
        )
        for one in study["pairs"]
    ]
    return markdown(head, lines)


def _published(pair: Record) -> str:
    """EOC on Learning-to-Cache's router of 22 %: FID of DiT-XL/2, ImageNet 256, 20 DDIM steps (arXiv:2501.19243)."""
    return "-2.5 %" if pair["name"].endswith("_trained_error_optimized") else ""


def random_table(study: Record) -> str:
    """Every probed router among random ones of its cost, on the same pictures."""
    head = ("", "pictures", "trained, dB", "reversed, dB", "random, dB", "best of them, dB", "beaten")
    lines = [
        (
            one["label"],
            str(one["num_seeds"]),
            f"{one['trained']:.1f}",
            "-" if one["backwards"] is None else f"{one['backwards']:.1f}",
            f"{one['mean']:.1f} (standard deviation {one['deviation']:.2f})",
            f"{one['best']:.1f}",
            f"{one['num_beaten']} of {len(one['scores'])}",
        )
        for one in study["randoms"]
    ]
    return markdown(head, lines)

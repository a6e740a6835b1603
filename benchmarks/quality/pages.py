"""Writes the benchmark: numbers as JSON, tables as Markdown, PSNR over cost and time as plots."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .cells import FEWER_STEPS, Cell
from .distances import Distance
from .kit import artefact_path
from .overview import overview
from .plots import draw_fronts
from .results import Match, Row
from .tables import (
    FAMILIES,
    Record,
    assembled,
    correction_table,
    full_table,
    match_table,
    read_studies,
    short_table,
)

_INTRODUCTION = """\
# Methods, measured

Every method on the zoo's models, against the uncached run of the same seed and against fewer steps: `python dev.py
bench methods`. A cache is worth its name where it is nearer to the uncached picture than fewer steps that cost as much.

*refresh* is computed over all site evaluations; the command stops where it is not what the method's own definition
gives (written apart, in `benchmarks/quality/arithmetic.py`). *cost* is the same, weighted by each site's measured time.
*time* is one picture's time over that of the uncached run. PSNR against fewer steps is paired by seed; the number of steps of
equal cost or time lies between two measured ones, and its PSNR is interpolated between theirs; bold where the whole
interval is above zero, "-" where it would lie beyond the measured numbers of steps. Perceptual distance is in the
features of the zoo's classifier.

Routers are made by hand, evenly spread and learned from nothing: their rows show that the machinery computes what the
file says, not what a trained router can do: `python dev.py bench routers`."""

_WHY = """\
Why a polynomial that fits better does not make better pictures here, and why GOC fails over long gaps, was looked into:
[decisions](../decisions.md), 18 and 17."""

_EXPECTED = """\
## What was expected, written before measuring

1. Refresh ratios equal the arithmetic of every method, exactly.
2. Under Euler, reusing the whole network's output is a coarser Euler with the same arithmetic, so FORA at level `model`
   lies on the line of fewer steps. Most published methods, which reuse the last value at levels below, lie under it.
3. Block Caching at the paper's delta reuses far more than its authors report, since these models change faster from
   step to step; its blocks refresh at different steps, which costs quality at equal reuse.
4. Hand-made routers are no better than FORA of equal cost.
5. Fitted coefficients give TeaCache a better order of steps to skip than identity, at equal refresh ratio.
6. EOC and GOC bring corrected pictures nearer to the uncached ones, GOC more; as in the papers, more where more is cached."""


@dataclass(frozen=True)
class Study:
    """All that was found about a family.

    Attributes:
        note: How it was measured, as a paragraph.
        numbers: Thresholds and deltas, by name.
        facts: By artefact, what calibration measured of it.
    """

    model: str
    note: str
    rows: Sequence[Row]
    distances: Sequence[Distance]
    matches: Sequence[Match]
    cells: Sequence[Cell]
    numbers: Mapping[str, float]
    facts: Mapping[str, Mapping[str, float]]


def table(study: Study) -> str:
    """The rows in short, for a terminal."""
    return short_table(to_record(study)["rows"])


def to_record(study: Study) -> Record:
    """The study as it is kept in its JSON file."""
    record = {name: value for name, value in asdict(study).items() if name != "cells"}
    corrections = [
        {"name": cell.name, "group": cell.group, "against": cell.against}
        for cell in study.cells
        if cell.against
    ]
    record = record | {"corrections": corrections}
    # As it will be read: tuples become lists.
    plain: Record = json.loads(json.dumps(record))
    return plain


def write_study(study: Study, folder: Path, pictures: Path) -> None:
    """Write a family's JSON file and plots, and the page of all families measured so far.

    Args:
        study: What was found.
        folder: `docs/results`.
        pictures: Where calibration left its pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = to_record(study)
    (folder / f"methods_{study.model}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw_fronts(record, folder / f"methods_{study.model}.png")
    for part in ("profile", "coefficients"):
        drawn = artefact_path(pictures, part).with_suffix(".png")
        shutil.copyfile(drawn, folder / f"methods_{study.model}_{part}.png")
    (folder / "methods.md").write_text(page(read_studies(folder)), encoding="utf-8", newline="\n")


def page(studies: Sequence[Record]) -> str:
    """The page of some families."""
    beginning = [_INTRODUCTION, _EXPECTED, "## What was found"]
    return assembled(beginning, studies, found, _section, [*overview(studies), _WHY])


def _section(study: Record) -> list[str]:
    model = study["model"]
    parts = [
        f"## {FAMILIES[model]}",
        f"![PSNR over cost and time](methods_{model}.png)",
        full_table(study["rows"]),
        study["note"],
    ]
    if study["corrections"]:
        parts += ["### Corrections", _bound(study)]
    if study["distances"]:
        parts += [correction_table(study), _PAPERS]
    if study["matches"]:
        parts += [
            "### TeaCache's polynomial",
            f"![Pairs and polynomial](methods_{model}_coefficients.png)",
            _fit(study["facts"]["coefficients"]),
            match_table(study),
        ]
    return [*parts, "### Block Caching's profile", f"![Change profile](methods_{model}_profile.png)"]


def _bound(study: Record) -> str:
    """What the prior could do at best: it holds means, and what differs from picture to picture is in no mean."""
    share = study["facts"]["prior"]["explained"]
    return (
        f"What EOC can do here: the prior's means hold {share:.0%} of the squared differences of features from step to step; the "
        "rest differs from caption to caption. Were every correction right, the error of a feature would shrink by "
        f"{1 - math.sqrt(1 - share):.0%}. In the paper the mean is over the 1000 classes of ImageNet."
    )


def _fit(fit: Record) -> str:
    shape = "monotone" if fit["monotone"] else "not monotone"
    return (
        f"Correlation of the polynomial with the change of the output {fit['correlation']:.3f}, of the indicator alone "
        f"{fit['raw_correlation']:.3f}; {shape} on the observed range."
    )


_PAPERS = (
    "Frechet distances; changes are against the bare cache above, paired by seed, with 95 % bounds. The papers' are of FID, of DiT-XL/2 on "
    "ImageNet 256 with 20 DDIM steps (arXiv:2501.19243, arXiv:2503.05156)."
)


def found(study: Record) -> list[str]:
    """What a family's numbers say to the expectations, one line each."""
    name, rows = FAMILIES[study["model"]], [row for row in study["rows"] if row["group"] != FEWER_STEPS]
    compared = [row["at_cost"]["gain"] for row in rows if row["at_cost"] is not None]
    nearer, farther = sum(gain["low"] > 0 for gain in compared), sum(gain["high"] < 0 for gain in compared)
    told = (
        f"**{name}**: {len(rows)} cells with a cache; the refresh ratio of every picture is the predicted one, exactly, or "
        f"the command would have stopped. Of {len(compared)} that fewer steps of equal cost stand beside, {nearer} are nearer to "
        f"the uncached picture, {farther} farther, beyond the interval."
    )
    return [told, *_found_of_fits(study, name)]


def _found_of_fits(study: Record, name: str) -> list[str]:
    fits = [one for one in study["matches"] if "fitted" in one["name"] and one["rival"] is not None]
    found = [f"{one['rival']['gain']['value']:+.1f} dB" for one in fits]
    return (
        [f"{name}: the fitted polynomial against identity at equal refresh ratio: {', '.join(found)}."]
        if fits
        else []
    )

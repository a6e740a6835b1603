"""From records to rows with intervals, and to the verdicts on difficulty and quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..frechet import fit_gaussian, frechet_difference, frechet_distance
from ..intervals import Interval, mean_interval
from .cells import CFG, FEWER, HEADLINE, SAMPLERS, UNGUIDED, Cell
from .measure import MEASURES, findings_of, references_of
from .store import Record, read_all

MAX_PSNR = 34.0
"""The 10-step run must be at least this far, in dB, from the 20-step run; else the model is too easy."""
MIN_QUALITY = 0.9
"""Share of the data's caption accuracy that generated pictures must reach."""


@dataclass(frozen=True)
class Row:
    """A cell against one reference, means over the seeds; unguided cells are compared with none."""

    sampler: str
    steps: int
    cfg: float
    against: str
    measures: dict[str, Interval]
    accuracy: Interval


@dataclass(frozen=True)
class Headline:
    """20 Euler steps, and 10 of them against these, over many seeds."""

    num_samples: int
    accuracy: dict[str, Interval]
    """Of "data", "20 steps" and "10 steps", and "10 - 20 steps" paired by seed."""
    kinds: dict[str, dict[str, float]]
    """The same of each kind of attribute, for the first three."""
    frechet: dict[str, float]
    """Distance to the data of "20 steps" and "10 steps"."""
    frechet_difference: Interval
    """The second minus the first, paired by seed."""


@dataclass(frozen=True)
class Verdict:
    """A requirement, what was found, and whether it is met."""

    claim: str
    found: str
    holds: bool


def grid_rows(folder: Path, cells: Sequence[Cell], seeds: list[range]) -> list[Row]:
    """A row for every cell and reference of it that belongs to the study; by sampler, guidance and steps."""
    rows = []
    for cell in sorted(cells, key=lambda cell: (SAMPLERS.index(cell.sampler), -cell.cfg, cell.steps)):
        record = read_all(folder, cell.name, seeds)
        accuracy = mean_interval(findings_of(record).accuracy())
        references = [one for one in references_of(cell) if one in cells]
        rows += [_row(cell, one, record, accuracy) for one in references]
        if not references:
            rows.append(Row(cell.sampler, cell.steps, cell.cfg, "", {}, accuracy))
    return rows


def _row(cell: Cell, reference: Cell, record: Record, accuracy: Interval) -> Row:
    measures = {
        name: mean_interval(record[f"{name}/{reference.name}"].astype(np.float64)) for name in MEASURES
    }
    against = f"{reference.sampler} {reference.steps}"
    return Row(cell.sampler, cell.steps, cell.cfg, against, measures, accuracy)


def guidance_gain(folder: Path, seeds: list[range]) -> Interval:
    """Caption accuracy at cfg 4 minus that at cfg 1, paired by seed."""
    guided, unguided = (_accuracy(read_all(folder, cell.name, seeds)) for cell in (HEADLINE, UNGUIDED))
    return mean_interval(guided - unguided)


def headline(folder: Path, seeds: list[range]) -> Headline:
    """The headline cells from their summaries.

    Raises:
        ValueError: If there are too few samples for a Frechet distance.
    """
    names = {"data": "data", "20 steps": HEADLINE.name, "10 steps": FEWER.name}
    records = {label: read_all(folder, f"summary_{name}", seeds) for label, name in names.items()}
    accuracies = {label: _accuracy(record) for label, record in records.items()}
    accuracies["10 - 20 steps"] = accuracies["10 steps"] - accuracies["20 steps"]
    summaries = {label: record["summary"].astype(np.float64) for label, record in records.items()}
    data = fit_gaussian(summaries["data"])
    return Headline(
        num_samples=len(summaries["data"]),
        accuracy={label: mean_interval(values) for label, values in accuracies.items()},
        kinds={label: findings_of(record).by_kind() for label, record in records.items()},
        frechet={
            label: float(frechet_distance(data, fit_gaussian(summaries[label])))
            for label in ("20 steps", "10 steps")
        },
        frechet_difference=frechet_difference(summaries["10 steps"], summaries["20 steps"], data),
    )


def judge(rows: Sequence[Row], top: Headline | None, gain: Interval | None) -> list[Verdict]:
    """Whether the model is hard enough to tell caches apart, good enough, and led by its captions."""
    verdicts = _judge_difficulty(rows)
    if gain is not None:
        found = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        verdicts.append(Verdict("guidance: cfg 4 names more than cfg 1", found, gain.is_above_zero))
    return verdicts if top is None else [*verdicts, *_judge_headline(top)]


def _judge_difficulty(rows: Sequence[Row]) -> list[Verdict]:
    against = f"{HEADLINE.sampler} {HEADLINE.steps}"
    chosen = [
        row
        for row in rows
        if (row.sampler, row.steps, row.cfg, row.against) == (FEWER.sampler, FEWER.steps, CFG, against)
    ]
    claim = f"difficulty: PSNR of 10 against 20 Euler steps at most {MAX_PSNR:g} dB"
    return [
        Verdict(claim, f"{row.measures['psnr'].value:.2f} dB", row.measures["psnr"].value <= MAX_PSNR)
        for row in chosen
    ]


def _judge_headline(top: Headline) -> list[Verdict]:
    change, distance = top.accuracy["10 - 20 steps"], top.frechet_difference
    worse = change.is_below_zero or distance.is_above_zero
    found = (
        f"accuracy {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f}), "
        f"Frechet {distance.value:+.4f} ({distance.low:+.4f} to {distance.high:+.4f})"
    )
    share = top.accuracy["20 steps"].value / top.accuracy["data"].value
    reached = (
        f"{top.accuracy['20 steps'].value:.3f} of {top.accuracy['data'].value:.3f}, {100.0 * share:.1f} %"
    )
    return [
        Verdict("difficulty: 10 steps worse than 20 beyond the interval", found, worse),
        Verdict(
            f"quality: caption accuracy at least {MIN_QUALITY:.0%} of the data's",
            reached,
            share >= MIN_QUALITY,
        ),
    ]


def _accuracy(record: Record) -> NDArray[np.float64]:
    values: NDArray[np.float64] = findings_of(record).accuracy().numpy()
    return values

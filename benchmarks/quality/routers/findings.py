"""From records to findings: who beats whom, seed by seed, and where a trained router lies among random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from metrics.frechet import fit_gaussian, frechet_difference, frechet_distance
from metrics.intervals import Interval, mean_interval

from ..cells import DATA, Cell
from ..distances import summaries
from ..results import Array, complete, floats
from ..trained import RANDOM, REVERSED
from .contenders import PROBED, RANDOM_SEEDS, rivals, router_name


@dataclass(frozen=True)
class Pair:
    """A cell against another one, paired by seed.

    Attributes:
        gain: PSNR of the cell minus that of the other, in dB; None where a record is missing.
        change: Frechet distance to the data minus that of the other; None where one was not drawn for it.
        other_distance: The other's Frechet distance to the data.
    """

    name: str
    label: str
    against: str
    against_label: str
    gain: Interval | None
    change: Interval | None
    other_distance: float | None


@dataclass(frozen=True)
class Randoms:
    """A trained router among random ones of its cost, all on the same pictures; PSNR in dB, means over the pictures.

    Attributes:
        num_seeds: How many pictures.
        trained: Of the trained router.
        backwards: Of the same with its steps reversed; None where it was not drawn.
        scores: Of the random ones.
        deviation: Standard deviation of these.
        num_beaten: How many of them the trained one beats.
    """

    name: str
    label: str
    num_seeds: int
    trained: float
    backwards: float | None
    scores: list[float]
    mean: float
    deviation: float
    best: float
    num_beaten: int


def find_pairs(folder: Path, cells: Sequence[Cell], num_seeds: int, num_samples: int) -> list[Pair]:
    """Compare everyone with those it has to beat; pairs of which nothing was measured are left out."""
    chosen = rivals(cells)
    every = list(dict.fromkeys(cell for pair in chosen for cell in pair))
    records = complete(folder, every, num_seeds)
    scores = {name: floats(record["psnr"]) for name, record in records.items()}
    seen = summaries(folder, every, num_samples)
    pairs = [_pair(own, other, scores, seen) for own, other in chosen]
    return [pair for pair in pairs if pair.gain is not None or pair.change is not None]


def _pair(own: Cell, other: Cell, scores: Mapping[str, Array], seen: Mapping[str, Array]) -> Pair:
    change, distance = None, None
    if DATA in seen and own.name in seen and other.name in seen:
        scenes = fit_gaussian(seen[DATA])
        change = frechet_difference(seen[own.name], seen[other.name], scenes)
        distance = float(frechet_distance(scenes, fit_gaussian(seen[other.name])))
    return Pair(own.name, own.label, other.name, other.label, _gain(own, other, scores), change, distance)


def _gain(own: Cell, other: Cell, scores: Mapping[str, Array]) -> Interval | None:
    """Seeds at which either is the uncached picture have no finite difference and are left out."""
    if own.name not in scores or other.name not in scores:
        return None
    one, two = scores[own.name], scores[other.name]
    both = np.isfinite(one) & np.isfinite(two)
    return mean_interval((one - two)[both]) if both.sum() > 1 else None


def find_randoms(folder: Path, cells: Sequence[Cell], num_seeds: int) -> list[Randoms]:
    """Place every probed router among the random ones that have been drawn; two or more give a spread."""
    seeds = min(num_seeds, RANDOM_SEEDS)
    records = complete(folder, cells, seeds)
    named, found = {cell.name: cell for cell in cells}, []
    for method, reused in PROBED:
        own, start = router_name(method, reused), f"{method}_{reused}_{RANDOM}_"
        drawn = [_mean(records[name]["psnr"]) for name in records if name.startswith(start)]
        if own in records and len(drawn) > 1:
            backwards = records.get(f"{method}_{reused}_{REVERSED}")
            score = _mean(records[own]["psnr"])
            found.append(
                Randoms(
                    name=own,
                    label=named[own].label,
                    num_seeds=seeds,
                    trained=score,
                    backwards=None if backwards is None else _mean(backwards["psnr"]),
                    scores=drawn,
                    mean=fmean(drawn),
                    deviation=stdev(drawn),
                    best=max(drawn),
                    num_beaten=sum(score > one for one in drawn),
                )
            )
    return found


def _mean(scores: Array) -> float:
    return float(floats(scores).mean())

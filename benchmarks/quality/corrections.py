"""From drawn pictures and single predictions to where corrections help: the page of `bench corrections`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from metrics.intervals import Interval, mean_interval
from torch import Tensor

from .tables import FAMILIES
from .tables import table as markdown

EOC = "EOC"
CORRECTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "": ("", {}),
    EOC: ("error_optimized", {}),
    "GOC, eta 0.25": ("gradient_optimized", {"eta": 0.25}),
    "GOC, eta 0.5": ("gradient_optimized", {"eta": 0.5}),
    "GOC, eta 1": ("gradient_optimized", {"eta": 1.0}),
    "Forecast": ("forecast", {}),
}
"""By label the correction and its settings; the first is none."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """FORA with one correction, or none, at one interval, level and guidance of a model.

    Attributes:
        psnr: Mean, in dB.
        gain: Mean over the seeds of what the correction adds, in dB.
        low: Lower bound of its 95 % interval.
        high: Upper bound.
        explained: Share of the squared changes of features that is the same for all prompts.
        left: Squared errors of predictions over those without a correction; None where they were not looked at.
    """

    family: str
    cfg: float
    level: str
    interval: int
    correction: str
    num_seeds: int
    psnr: float
    gain: float
    low: float
    high: float
    explained: float
    left: float | None

    @classmethod
    def of(
        cls,
        family: str,
        cfg: float,
        level: str,
        explained: float,
        row: Mapping[str, Any],
        bare: Mapping[str, Any],
    ) -> Measured:
        """Return what a record's row says beside the row without a correction."""
        gain = mean_interval(np.array(row["psnr"]) - np.array(bare["psnr"]))
        return cls(
            family=family,
            cfg=cfg,
            level=level,
            interval=row["interval"],
            correction=row["correction"],
            num_seeds=len(row["psnr"]),
            psnr=float(np.mean(row["psnr"])),
            gain=gain.value,
            low=gain.low,
            high=gain.high,
            explained=explained,
            left=row["energy"] / bare["energy"] if "energy" in row else None,
        )


def read(path: Path) -> list[Measured]:
    """Return what `python dev.py bench corrections` has written."""
    return [Measured(**one) for one in json.loads(path.read_text(encoding="utf-8"))]


def energy(errors: Tensor) -> float:
    """Return the squared errors of all steps (T, B, C, h, w), added up over the steps, the mean over the rest."""
    return float(errors.double().square().mean(dim=(1, 2, 3, 4)).sum())


def table(found: Sequence[Measured]) -> str:
    """What every correction adds in dB: a row per model, guidance, interval and level."""
    head = ("", "bare, dB", *(f"+ {name}" for name in CORRECTIONS if name))
    return markdown(head, [_line(rows) for rows in _places(found)])


def causes(found: Sequence[Measured]) -> str:
    """Why Error-Optimized Cache adds what it adds: a row per model, guidance, interval and level."""
    head = ("", "features' changes in common", "predictions' squared error with EOC", "EOC, dB")
    lines = []
    for rows in _places(found):
        corrected = rows[EOC]
        assert corrected.left is not None
        lines.append(
            (_name(corrected), f"{corrected.explained:.0%}", f"{corrected.left:.2f}", _spell(corrected))
        )
    return markdown(head, lines)


def page(found: Sequence[Measured]) -> str:
    """The page."""
    [num_seeds] = {one.num_seeds for one in found}
    introduction = (
        "FORA from the start at two intervals, bare and with a correction on top: 20 Euler steps, PSNR against the uncached picture of "
        f"the same seed over {num_seeds} seeds, and what a correction adds in dB with its 95 % interval (bold where it is above zero). "
        f"`python dev.py bench corrections --seeds {num_seeds}`, on prompts and seeds that nothing else measures. At level `module` "
        "branches are reused and the gates that scale them are computed in every step; at level `stack` what all blocks together "
        "add is reused, gates and all."
    )
    explanation = (
        "Error-Optimized Cache takes away what features' changes have in common over all prompts. How much that is depends on the level: "
        "*in common* is its share of their squares, as the prior measured it. What is left to repair are the errors of predictions: "
        "their squares, each step from the states of the uncached run, relative to the same cache without the correction; below 1 it "
        "repairs. (docs/decisions.md, 20)"
    )
    parts = ["# Corrections, by level and guidance", introduction, table(found)]
    return (
        "\n\n".join([*parts, "## Why Error-Optimized Cache helps or does not", explanation, causes(found)])
        + "\n"
    )


def _places(found: Sequence[Measured]) -> Iterator[dict[str, Measured]]:
    """Yield what was measured at each place, by correction."""
    places: dict[tuple[str, str, float, int], dict[str, Measured]] = {}
    for one in found:
        places.setdefault((one.family, one.level, one.cfg, one.interval), {})[one.correction] = one
    yield from places.values()


def _line(rows: Mapping[str, Measured]) -> tuple[str, ...]:
    added = (_spell(rows[name]) if name in rows else "" for name in CORRECTIONS if name)
    return _name(rows[""]), f"{rows[''].psnr:.1f}", *added


def _name(one: Measured) -> str:
    return f"{FAMILIES[one.family]}, {one.level}, cfg {one.cfg:g}, interval {one.interval}"


def _spell(one: Measured) -> str:
    interval = Interval(one.gain, one.low, one.high)
    text = f"{one.gain:+.1f} ({one.low:+.1f} to {one.high:+.1f})"
    return f"**{text}**" if interval.is_above_zero else text

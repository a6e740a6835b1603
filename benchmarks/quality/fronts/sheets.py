"""The CSV files that pages, plots and the README's table are made of, and how a new measurement joins them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .names import FAMILIES, SAMPLERS

if TYPE_CHECKING:
    from metrics.study.cells import Cell as Setting

    from .frechet import Distance
    from .rows import Duel, Row

ROWS, DUELS, DISTANCES = "quality.csv", "quality_duels.csv", "quality_frechet.csv"
Line = dict[str, str]
KEY = ("family", "sampler", "steps", "cfg")
"""What a setting is named by in both files."""


def row_line(row: Row, made: str) -> Line:
    """A row as it is written; `made` says on what it was measured."""
    line: dict[str, Any] = {
        name: getattr(row, name)
        for name in (*KEY, "front", "title", "origin", "cell", "label", "knob", "num_seeds", "num_identical")
    }
    line |= {name: _number(getattr(row, name)) for name in ("refresh", "cost", "seconds", "time")}
    low, high = row.time_range or (None, None)
    line |= {"time_low": _number(low), "time_high": _number(high)}
    for name in ("psnr", "perceptual", "latent_error"):
        found = row.measures.get(name)
        bounds = (None, None, None) if found is None else (found.value, found.low, found.high)
        line |= {f"{name}{end}": _number(one) for end, one in zip(("", "_low", "_high"), bounds, strict=True)}
    return {name: str(value) for name, value in line.items()} | {"made": made}


def duel_line(duel: Duel) -> Line:
    """A duel as it is written."""
    line: dict[str, Any] = {name: getattr(duel, name) for name in (*KEY, "speedup", "axis")}
    line |= {"front": duel.front, "title": duel.title, "origin": duel.origin}
    line |= {name: _number(getattr(duel, name)) for name in ("at", "psnr", "rival_at", "rival_psnr")}
    line |= {"gain": _number(duel.gain.value)}
    line |= {"gain_low": _number(duel.gain.low), "gain_high": _number(duel.gain.high)}
    return {name: str(value) for name, value in line.items()}


def distance_line(distance: Distance, setting: Setting) -> Line:
    """A Frechet distance as it is written."""
    line: dict[str, Any] = {"family": distance.family, "sampler": setting.sampler}
    line |= {"steps": setting.steps, "cfg": setting.cfg, "title": distance.title, "label": distance.label}
    line |= {"num_samples": distance.num_samples, "distance": _number(distance.value)}
    line |= {"uncached": _number(distance.plain), "excess": _number(distance.excess.value)}
    line |= {"excess_low": _number(distance.excess.low), "excess_high": _number(distance.excess.high)}
    return {name: str(value) for name, value in line.items()}


def read_lines(path: Path) -> list[Line]:
    """The lines of a file; none where it is not there."""
    if not path.is_file():
        return []
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def write_lines(path: Path, lines: Sequence[Line]) -> None:
    """Write a file, all of whose lines have the same names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")


def joined(old: Iterable[Line], new: Sequence[Line]) -> list[Line]:
    """Return the new lines and those of the old whose setting was not measured anew, setting by setting."""
    measured = {setting_of(line) for line in new}
    kept = [line for line in old if setting_of(line) not in measured]
    return sorted([*kept, *new], key=_order)


def setting_of(line: Line) -> tuple[str, ...]:
    """Family, sampler, steps and guidance of a line."""
    return tuple(line[name] for name in KEY)


def number(line: Line, name: str) -> float | None:
    """A number of a line; None where there is none."""
    return float(line[name]) if line[name] else None


def _order(line: Line) -> tuple[Any, ...]:
    return (
        FAMILIES.index(line["family"]),
        SAMPLERS.index(line["sampler"]),
        int(line["steps"]),
        float(line["cfg"]),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"

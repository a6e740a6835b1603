"""Draws PSNR over time and cost: every front with its intervals, fewer steps as the line to beat, and the best of all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ..tables import FAMILIES
from .names import SAMPLERS
from .sheets import Line, number
from .tables import NAMES

_MARKERS = "osD^vPX*hp<>8d"
_OWN, _PLAIN, _PEER = "#c1121f", "#000000", "#1d4ed8"
_SHADES = (
    "#2a9d8f",
    "#e9a03b",
    "#7b5ea7",
    "#8c564b",
    "#7cb518",
    "#d16ba5",
    "#17becf",
    "#b8860b",
    "#708090",
    "#ff6f3c",
    "#4c3b4d",
    "#3a7ca5",
    "#606c38",
)
_SLOWEST = 1.1
"""What takes longer, over the uncached run's time, is outside the picture."""


def draw_headline(family: str, rows: Sequence[Line], path: Path) -> None:
    """Draw 20 Euler steps: a row per guidance, over time and over cost."""
    chosen = [line for line in rows if is_headline(line)]
    cfgs = sorted({line["cfg"] for line in chosen}, key=float)
    figure, panels = _figure(len(cfgs), 2, 6.0, 4.2)
    for axes_row, cfg in zip(panels, cfgs, strict=True):
        for axes, axis in zip(axes_row, ("time", "cost"), strict=True):
            _draw(axes, [line for line in chosen if line["cfg"] == cfg], axis, _styles(rows))
            axes.set_title(f"cfg {float(cfg):g}", fontsize=10)
            axes.set_xlabel(f"{axis} over that of the uncached run")
    _finish(figure, f"{FAMILIES[family]} of the zoo, 20 Euler steps", path)


def draw_grid(family: str, rows: Sequence[Line], path: Path) -> None:
    """Draw one guidance: a row per sampler and a column per number of steps, over time."""
    samplers = [name for name in SAMPLERS if any(line["sampler"] == name for line in rows)]
    steps = sorted({int(line["steps"]) for line in rows})
    figure, panels = _figure(len(samplers), len(steps), 4.6, 3.6)
    for axes_row, sampler in zip(panels, samplers, strict=True):
        for axes, count in zip(axes_row, steps, strict=True):
            own = [line for line in rows if (line["sampler"], line["steps"]) == (sampler, str(count))]
            _draw(axes, own, "time", _styles(rows))
            axes.set_title(f"{NAMES[sampler]}, {count} steps", fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel("time over that of the uncached run")
    _finish(figure, f"{FAMILIES[family]} of the zoo, cfg {float(rows[0]['cfg']):g}", path)


def is_headline(line: Line) -> bool:
    """Whether a row is of 20 Euler steps."""
    return (line["sampler"], line["steps"]) == ("euler", "20")


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, quality) that no cheaper or equally dear one reaches, cheapest first."""
    best: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or quality > best[-1][1]:
            best.append((cost, quality))
    return best


def _figure(num_rows: int, num_columns: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * num_columns + 5.6, max(height * num_rows, 5.4)))
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def _finish(figure: Any, title: str, path: Path) -> None:
    shown = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    width = 1.0 - 5.5 / figure.get_figwidth()
    figure.legend(
        list(shown.values()), list(shown), loc="center left", bbox_to_anchor=(width, 0.5), fontsize=8
    )
    figure.suptitle(f"{title}: PSNR against the uncached run", fontsize=12)
    figure.tight_layout(rect=(0.0, 0.0, width, 1.0))
    # No software version in the file, so that equal numbers give an equal file.
    figure.savefig(path, dpi=90, metadata={"Software": None})


def _styles(rows: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """Marker and colour of every front, the same in all panels of a family."""
    fronts = dict.fromkeys((line["front"], line["origin"]) for line in rows)
    styles: dict[str, dict[str, Any]] = {}
    for place, (front, origin) in enumerate(fronts):
        colour = {"fewer steps": _PLAIN, "peer": _PEER, "pack": _PEER}.get(
            origin, _SHADES[place % len(_SHADES)]
        )
        is_own = front == "step_list"
        styles[front] = {
            "color": _OWN if is_own else colour,
            "marker": _MARKERS[place % len(_MARKERS)],
            "linestyle": "--" if front == "searched_steps" else "-",
            "linewidth": 2.2 if is_own or front == "fewer_steps" else 0.9,
            "alpha": 1.0 if is_own or origin in ("fewer steps", "peer") else 0.75,
            "markersize": 7 if is_own else 5,
            "zorder": 5 if is_own else 3,
        }
    return styles


def _draw(axes: Any, rows: Sequence[Line], axis: str, styles: dict[str, dict[str, Any]]) -> None:
    shown = [line for line in rows if line[axis] and line["psnr"]]
    best = pareto([(float(line[axis]), float(line["psnr"])) for line in shown])
    axes.plot([x for x, _ in best], [y for _, y in best], color="#ffd166", linewidth=8, alpha=0.6, zorder=1)
    for front, lines in groupby(shown, key=lambda line: line["front"]):
        own = sorted(lines, key=lambda line: float(line[axis]))
        middle = [float(line["psnr"]) for line in own]
        spread = [
            [value - (number(line, "psnr_low") or value) for value, line in zip(middle, own, strict=True)],
            [(number(line, "psnr_high") or value) - value for value, line in zip(middle, own, strict=True)],
        ]
        x = [float(line[axis]) for line in own]
        axes.errorbar(x, middle, spread, label=own[0]["title"], elinewidth=0.8, capsize=1.5, **styles[front])
    axes.set_xlim(right=min(_SLOWEST, axes.get_xlim()[1]))
    axes.set_ylabel("PSNR (dB)")
    axes.grid(alpha=0.3)

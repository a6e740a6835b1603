"""Draws PSNR over cost and over time: every cell with its interval, and fewer steps as the line to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .tables import FAMILIES, Record

_NAMES = {
    "fora": "FORA",
    "block_caching": "Block Caching",
    "learning_to_cache": "Learning-to-Cache, hand-made",
    "harmonica": "HarmoniCa, hand-made",
    "mask": "masks",
    "teacache": "TeaCache",
    "seacache": "SeaCache",
    "error_optimized": "FORA + EOC",
    "gradient_optimized": "FORA + GOC",
    "step_list": "Step List",
    "forecast": "FORA + Forecast",
    "first_block": "First Block Cache",
}
MARKERS = "osD^vPX*h><p"


def draw_fronts(study: Record, path: Path) -> None:
    """Draw both pictures of a family side by side.

    Args:
        study: The record of a family.
        path: The PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 5.4))
    for axes, key in zip(figure.subplots(1, 2, sharey=True), ("cost", "time"), strict=True):
        draw_front(axes, study["rows"], key, _NAMES)
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", fontsize=9)
    figure.suptitle(
        f"{FAMILIES[study['model']]} of the zoo, 20 Euler steps, cfg 4, against the uncached run", fontsize=11
    )
    figure.tight_layout(rect=(0.0, 0.0, 0.8, 1.0))
    # No software version in the file, so that equal numbers give an equal file.
    figure.savefig(path, dpi=100, metadata={"Software": None})


def draw_front(axes: Any, every: Sequence[Record], key: str, names: Mapping[str, str]) -> None:
    """Draw the rows that have their cost or time, and fewer steps as a line.

    Args:
        axes: What to draw on.
        every: Rows of a record.
        key: "cost" or "time".
        names: By group what the legend calls it; at most as many as there are `MARKERS`.
    """
    rows = [row for row in every if row[key] is not None and "psnr" in row["measures"]]
    fewer = sorted((row for row in rows if row["group"] == "fewer_steps"), key=lambda row: row[key])
    scores = [row["measures"]["psnr"] for row in fewer]
    x = [row[key] for row in fewer]
    axes.plot(x, [one["value"] for one in scores], color="black", marker=".", label="fewer steps")
    axes.fill_between(x, [s["low"] for s in scores], [s["high"] for s in scores], color="black", alpha=0.12)
    for number, (group, name) in enumerate(names.items()):
        own = [row for row in rows if row["group"] == group]
        if own:
            _draw_group(axes, own, key, name, MARKERS[number], f"C{number}")
    axes.set(xlabel=f"{key} over that of the uncached run", ylabel="PSNR (dB)")


def _draw_group(axes: Any, rows: Sequence[Record], key: str, name: str, marker: str, colour: str) -> None:
    scores = [row["measures"]["psnr"] for row in rows]
    middle = [one["value"] for one in scores]
    spread = [[one["value"] - one["low"] for one in scores], [one["high"] - one["value"] for one in scores]]
    axes.errorbar(
        [row[key] for row in rows],
        middle,
        spread,
        linestyle="none",
        marker=marker,
        markersize=6,
        color=colour,
        elinewidth=0.8,
        label=name,
    )

"""Draws routers over cost and time, their distance to the data over time, and where they lie among random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..cells import UNCACHED
from ..plots import MARKERS, draw_front
from ..tables import FAMILIES, Record, in_percent

_NAMES = {
    "learning_to_cache": "Learning-to-Cache, trained",
    "harmonica": "HarmoniCa, trained",
    "fora": "FORA, window of steps",
    "learning_to_cache reversed": "Learning-to-Cache, reversed",
    "harmonica reversed": "HarmoniCa, reversed",
    "error_optimized": "Learning-to-Cache + EOC",
    "gradient_optimized": "Learning-to-Cache + GOC",
    "block_caching": "Block Caching, scale and shift",
    "block_caching unadjusted": "Block Caching, without",
}


def draw(study: Record, path: Path) -> None:
    """Draw a family's panels side by side; those of which nothing was measured are left out.

    Args:
        study: The record of a family.
        path: The PNG file.
    """
    from matplotlib.figure import Figure

    panels: list[Any] = [_draw_cost, _draw_time]
    panels += [_draw_distances] * bool(study["distances"]) + [_draw_randoms] * bool(study["randoms"])
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(13.6, 0.6 + 4.8 * rows))
    places = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes in places[len(panels) :]:
        axes.remove()
    for axes, panel in zip(places, panels, strict=False):
        panel(axes, study)
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", fontsize=9)
    title = (
        f"Routers of the zoo's {FAMILIES[study['model']]}, 20 Euler steps, cfg 4, against the uncached run"
    )
    figure.suptitle(title, fontsize=11)
    figure.tight_layout(rect=(0.0, 0.0, 0.8, 1.0))
    # No software version in the file, so that equal numbers give an equal file.
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _draw_cost(axes: Any, study: Record) -> None:
    draw_front(axes, study["rows"], "cost", _NAMES)


def _draw_time(axes: Any, study: Record) -> None:
    draw_front(axes, study["rows"], "time", _NAMES)


def _draw_distances(axes: Any, study: Record) -> None:
    rows = {row["name"]: row for row in study["rows"]}
    groups = list(_NAMES)
    [base] = [one["to_data"] for one in study["distances"] if one["name"] == UNCACHED]
    for one in study["distances"]:
        row = rows.get(one["name"])
        if row is None or row["time"] is None:
            continue
        value, low, high = in_percent(one["excess"], base)
        place = groups.index(row["group"]) if row["group"] in groups else None
        marker, colour = (".", "black") if place is None else (MARKERS[place], f"C{place}")
        spread = [[value - low], [high - value]]
        axes.errorbar([row["time"]], [value], spread, marker=marker, color=colour, elinewidth=0.8)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set(
        xlabel="time over that of the uncached run", ylabel="farther from the data than the uncached run (%)"
    )


def _draw_randoms(axes: Any, study: Record) -> None:
    for place, one in enumerate(study["randoms"]):
        axes.plot([place] * len(one["scores"]), one["scores"], "o", color="gray", alpha=0.5, markersize=4)
        axes.plot([place], [one["trained"]], "*", color="C0", markersize=13)
        if one["backwards"] is not None:
            axes.plot([place], [one["backwards"]], "v", color="C3", markersize=7)
    for marker, colour, label in (("*", "C0", "trained"), ("v", "C3", "reversed"), ("o", "gray", "random")):
        axes.plot([], [], marker, color=colour, label=label)
    axes.legend(fontsize=9)
    axes.set_xticks(
        range(len(study["randoms"])), [_ticked(one["label"]) for one in study["randoms"]], fontsize=8
    )
    axes.set_xlim(-0.5, len(study["randoms"]) - 0.5)
    axes.set_ylabel(f"PSNR (dB), the same {study['randoms'][0]['num_seeds']} pictures")


def _ticked(label: str) -> str:
    title, _, reuse = label.split(", ")
    return f"{title}\n{reuse}"

"""Pictures as data: what a calibration shows of its findings, drawn by whoever has a canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeatMap:
    """A table of numbers as colours: one row per name, one column per step.

    Attributes:
        title: What it shows.
        rows: Names of the rows.
        values: (rows, columns) float; not negative.
        marks: (rows, columns) bool: cells to mark, or None.
        legend: What a marked cell means.
    """

    title: str
    rows: Sequence[str]
    values: Tensor
    marks: Tensor | None = None
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points (x, y), as dots or as a line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    is_line: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Series over one pair of axes."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


Chart = HeatMap | Graph

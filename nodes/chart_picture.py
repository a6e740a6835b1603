"""Draws charts: tables of numbers as colours, and series over a pair of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..cache_core import Chart, Graph, HeatMap, Series
from .picture import BACKGROUND, COMPUTED, FAINT, INK, LABEL_WIDTH, LINE, MARGIN, REUSED

WIDTH, PLOT_HEIGHT = 960, 360
LOW, HIGH = (44, 44, 50), (240, 205, 120)
MARK = (226, 106, 44)
COLOURS = (REUSED, COMPUTED, (120, 170, 90), (170, 120, 180))
NUM_TICKS = 5


def draw(charts: Sequence[Chart], title: str, text: str) -> torch.Tensor:
    """Return title, text and charts, one below the other, as a picture (1, height, width, 3) float32 in [0, 1]."""
    parts = [_words([title, *text.splitlines()]), *map(_chart, charts)]
    width, height = max(part.width for part in parts), sum(part.height for part in parts)
    whole = Image.new("RGB", (width, height), BACKGROUND)
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return torch.from_numpy(np.asarray(whole, dtype=np.float32) / 255.0)[None]


def image_of(picture: torch.Tensor) -> Image.Image:
    """Return a picture (1, height, width, 3) in [0, 1] as Pillow has it, for a preview."""
    return Image.fromarray((picture[0].numpy() * 255.0).round().astype(np.uint8))


def _chart(chart: Chart) -> Image.Image:
    return _heat_map(chart) if isinstance(chart, HeatMap) else _Plot(chart).paint()


def _font(size: int = 14) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _words(lines: Sequence[str]) -> Image.Image:
    font = _font()
    width = max([WIDTH, *(int(font.getlength(line)) + 2 * MARGIN for line in lines)])
    image = Image.new("RGB", (width, MARGIN + LINE * len(lines)), BACKGROUND)
    pen = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        pen.text((MARGIN, MARGIN + row * LINE), line, INK if row == 0 else FAINT, font)
    return image


def _heat_map(chart: HeatMap) -> Image.Image:
    """Return one cell per value, light where it is large; marked cells have a dot."""
    num_rows, num_columns = chart.values.shape
    wide, high = max(6, min(28, 740 // max(num_columns, 1))), max(6, min(16, 900 // max(num_rows, 1)))
    left, top = MARGIN + LABEL_WIDTH, MARGIN + 2 * LINE
    size = (max(left + wide * num_columns + MARGIN, WIDTH), top + high * num_rows + 3 * LINE)
    image = Image.new("RGB", size, BACKGROUND)
    pen, small = ImageDraw.Draw(image), _font(max(8, min(12, high + 1)))
    pen.text((MARGIN, MARGIN), chart.title, INK, _font())
    largest = float(chart.values.max()) or 1.0
    every = max(1, round(12 / high))
    for row, values in enumerate(chart.values.tolist()):
        y = top + row * high
        if row % every == 0:
            pen.text((left - 8, y + high / 2), chart.rows[row], FAINT, small, anchor="rm")
        for column, value in enumerate(values):
            x = left + column * wide
            pen.rectangle((x, y, x + wide - 2, y + high - 2), _shade(value / largest))
            if chart.marks is not None and bool(chart.marks[row, column]):
                _dot(pen, x + (wide - 2) / 2, y + (high - 2) / 2, 2, MARK)
    _columns(pen, small, left, top + high * num_rows + 8, wide, num_columns)
    _scale(pen, left, top + high * num_rows + LINE, largest, chart.legend)
    return image


def _columns(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    left: int,
    y: int,
    wide: int,
    num: int,
) -> None:
    pen.text((left - 8, y), "step", FAINT, font, anchor="rm")
    for column in range(0, num, max(1, round(24 / wide))):
        pen.text((left + column * wide + wide / 2, y), str(column), FAINT, font, anchor="mm")


def _scale(pen: ImageDraw.ImageDraw, left: int, y: int, largest: float, legend: str) -> None:
    """Draw what the colours and the dots mean."""
    for part in range(100):
        pen.line((left + part, y, left + part, y + 12), _shade(part / 99))
    pen.text((left + 108, y + 6), f"0 to {largest:.3g}", INK, _font(12), anchor="lm")
    if legend:
        _dot(pen, left + 230, y + 6, 3, MARK)
        pen.text((left + 240, y + 6), legend, INK, _font(12), anchor="lm")


def _shade(share: float) -> tuple[int, int, int]:
    """Return the colour of a share from 0 to 1; the square root, so that small values can be told apart."""
    root = math.sqrt(min(max(share, 0.0), 1.0))
    red, green, blue = (round(low + (high - low) * root) for low, high in zip(LOW, HIGH, strict=True))
    return red, green, blue


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float, radius: int, colour: tuple[int, int, int]) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


class _Plot:
    """One pair of axes and what is drawn over them."""

    def __init__(self, chart: Graph) -> None:
        self.chart = chart
        self.left, self.top = MARGIN + 80, MARGIN + 2 * LINE
        self.right, self.bottom = WIDTH - MARGIN, self.top + PLOT_HEIGHT
        self.x_range = _range([x for series in chart.series for x in series.x])
        self.y_range = _range([y for series in chart.series for y in series.y])
        height = self.bottom + LINE * (3 + len(chart.series))
        self.image = Image.new("RGB", (WIDTH, height), BACKGROUND)
        self.pen = ImageDraw.Draw(self.image)

    def paint(self) -> Image.Image:
        """Return the finished picture."""
        self.pen.text((MARGIN, MARGIN), self.chart.title, INK, _font())
        self._axes()
        for number, series in enumerate(self.chart.series):
            colour = COLOURS[number % len(COLOURS)]
            self._draw(series, colour)
            y = self.bottom + LINE * (2.4 + number)
            _dot(self.pen, self.left, y, 4, colour)
            self.pen.text((self.left + 12, y), series.name, INK, _font(12), anchor="lm")
        return self.image

    def _axes(self) -> None:
        self.pen.rectangle((self.left, self.top, self.right, self.bottom), outline=FAINT)
        for tick in range(NUM_TICKS):
            share = tick / (NUM_TICKS - 1)
            x, y = _between(self.x_range, share), _between(self.y_range, share)
            at_x, at_y = self._place(x, y)
            self.pen.text((at_x, self.bottom + 10), f"{x:.3g}", FAINT, _font(12), anchor="mm")
            self.pen.text((self.left - 8, at_y), f"{y:.3g}", FAINT, _font(12), anchor="rm")
        middle = (self.left + self.right) / 2
        self.pen.text((middle, self.bottom + 28), self.chart.x_label, FAINT, _font(12), anchor="mm")
        self.pen.text((self.left, self.top - 10), self.chart.y_label, FAINT, _font(12), anchor="lm")

    def _draw(self, series: Series, colour: tuple[int, int, int]) -> None:
        places = [self._place(x, y) for x, y in zip(series.x, series.y, strict=True)]
        if series.is_line:
            self.pen.line(places, colour, width=2)
            return
        for x, y in places:
            _dot(self.pen, x, y, 2, colour)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * share

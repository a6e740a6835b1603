"""Draws a report: one column per call, one row per site, coloured by what was done."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..cache_core import RunReport
from .text import facts

COMPUTED, REUSED, MIXED, IDLE = (226, 106, 44), (52, 120, 168), (150, 113, 150), (58, 58, 62)
BACKGROUND, INK, FAINT = (30, 30, 33), (232, 232, 232), (150, 150, 155)
MARGIN, LINE, LABEL_WIDTH = 16, 20, 190
BARS_HEIGHT = 70


def draw(report: RunReport) -> torch.Tensor:
    """Return the report as a picture, (1, height, width, 3) float32 in [0, 1]."""
    painter = _Painter(report)
    pixels = np.asarray(painter.paint(), dtype=np.float32) / 255.0
    return torch.from_numpy(pixels)[None]


class _Painter:
    """One picture: figures on top, the grid of sites and calls, the seconds of each call below it."""

    def __init__(self, report: RunReport) -> None:
        self.report = report
        num_calls, num_sites = max(len(report.calls), 1), max(len(report.sites), 1)
        self.cell_width = max(6, min(28, 840 // num_calls))
        self.cell_height = max(5, min(16, 900 // num_sites))
        self.left = MARGIN + LABEL_WIDTH
        self.top = MARGIN + LINE * (len(facts(report)) + 2)
        self.grid_width = self.cell_width * num_calls
        self.grid_bottom = self.top + self.cell_height * num_sites
        width = max(self.left + self.grid_width + MARGIN, 860)
        self.image = Image.new("RGB", (width, self.grid_bottom + BARS_HEIGHT + 4 * LINE), BACKGROUND)
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(size=14)
        self.small = ImageFont.load_default(size=max(8, min(12, self.cell_height + 1)))

    def paint(self) -> Image.Image:
        """Return the finished picture."""
        self._facts()
        self._grid()
        self._bars()
        self._legend()
        return self.image

    def _facts(self) -> None:
        for row, (name, value) in enumerate(facts(self.report)):
            y = MARGIN + row * LINE
            self.draw.text((MARGIN, y), name, FAINT, self.font)
            self.draw.text((MARGIN + 100, y), value, INK, self.font)

    def _grid(self) -> None:
        every = max(1, round(12 / self.cell_height))
        for row, site in enumerate(self.report.sites):
            y = self.top + row * self.cell_height
            if row % every == 0:
                self.draw.text(
                    (self.left - 8, y + self.cell_height / 2), site, FAINT, self.small, anchor="rm"
                )
            for column, call in enumerate(self.report.calls):
                self._cell(column, y, _colour(call.computed[row], call.reused[row]))

    def _cell(self, column: int, y: int, colour: tuple[int, int, int]) -> None:
        x = self.left + column * self.cell_width
        self.draw.rectangle((x, y, x + self.cell_width - 2, y + self.cell_height - 2), colour)

    def _bars(self) -> None:
        longest = max((call.seconds for call in self.report.calls), default=0.0) or 1.0
        floor = self.grid_bottom + LINE + BARS_HEIGHT
        middle = floor - BARS_HEIGHT / 2
        self.draw.text((self.left - 8, middle - 8), "seconds per call", FAINT, self.small, anchor="rm")
        self.draw.text(
            (self.left - 8, middle + 8), f"longest {longest:.3f} s", FAINT, self.small, anchor="rm"
        )
        for column, call in enumerate(self.report.calls):
            x = self.left + column * self.cell_width
            height = max(1.0, BARS_HEIGHT * call.seconds / longest)
            colour = _colour(sum(call.computed), sum(call.reused))
            self.draw.rectangle((x, floor - height, x + self.cell_width - 2, floor), colour)
            if column % max(1, round(24 / self.cell_width)) == 0:
                self.draw.text(
                    (x + self.cell_width / 2, floor + 8), str(call.step), FAINT, self.small, anchor="mm"
                )
        self.draw.text((self.left - 8, floor + 8), "step", FAINT, self.small, anchor="rm")

    def _legend(self) -> None:
        x, y = self.left, self.grid_bottom + BARS_HEIGHT + int(2.4 * LINE)
        for name, colour in (("computed", COMPUTED), ("reused", REUSED), ("both", MIXED), ("not run", IDLE)):
            self.draw.rectangle((x, y, x + 14, y + 14), colour)
            self.draw.text((x + 20, y + 7), name, INK, self.font, anchor="lm")
            x += 110


def _colour(computed: int, reused: int) -> tuple[int, int, int]:
    if computed and reused:
        return MIXED
    if not computed and not reused:
        return IDLE
    return COMPUTED if computed else REUSED

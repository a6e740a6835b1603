"""Compares pictures, and shows the comparison: a table for the terminal, pictures side by side for the eye."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.metrics import peak_signal_noise_ratio

Picture = np.ndarray[Any, np.dtype[np.float64]]
"""(height, width, 3) in [0, 1]."""

INK, PAPER, GAP, CAPTION_WIDTH, SCALE = (30, 30, 30), (255, 255, 255), 14, 230, 320


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one variant beside its uncached reference.

    Attributes:
        seconds: Wall seconds of the sampler node.
        reference_seconds: The same of the uncached run of the same seed.
        report: The numbers of the report node; None for a run without a cache.
    """

    picture: Picture
    reference: Picture
    seconds: float
    reference_seconds: float
    report: dict[str, float] | None = None

    @property
    def psnr(self) -> float:
        """Peak signal to noise ratio against the reference in dB; infinite where they are equal."""
        if np.array_equal(self.picture, self.reference):
            return float("inf")
        return float(peak_signal_noise_ratio(self.reference, self.picture, data_range=1.0))

    @property
    def relative_error(self) -> float:
        """Euclidean norm of the difference over that of the reference."""
        return float(np.linalg.norm(self.picture - self.reference) / np.linalg.norm(self.reference))


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to sample, with its runs in the order of the prompts; `work` is its share of the uncached calls."""

    name: str
    runs: Sequence[Measured]
    work: float = 1.0

    @property
    def speedup(self) -> float:
        """Median over the pairs of uncached seconds over this variant's seconds."""
        return median(run.reference_seconds / run.seconds for run in self.runs)

    @property
    def seconds(self) -> float:
        """Median seconds of the sampler node."""
        return median(run.seconds for run in self.runs)

    def reported(self, name: str, otherwise: float) -> float:
        """Return the mean of a number of the report, or `otherwise` for a variant without reports."""
        values = [run.report[name] for run in self.runs if run.report is not None]
        return fmean(values) if values else otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: a variant in numbers. `psnr` is None where all pictures are identical."""

    name: str
    seconds: float
    measured: float
    ideal: float
    refresh: float
    cost: float
    psnr: float | None
    psnr_spread: float
    relative_error: float

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of `HEADINGS`."""
        psnr = "identical" if self.psnr is None else f"{self.psnr:.1f} +- {self.psnr_spread:.1f}"
        speedups = (f"{self.measured:.2f}x", f"{self.ideal:.2f}x")
        ratios = (f"{self.refresh:.2f}", f"{self.cost:.2f}")
        return (self.name, f"{self.seconds:.2f}", *speedups, *ratios, psnr, f"{self.relative_error:.3f}")


HEADINGS = ("", "seconds", "measured", "ideal", "refresh", "cost", "PSNR dB", "rel. error")


def row_of(variant: Variant) -> Row:
    """Return a variant's numbers.

    Fewer steps do less of everything alike, so their ideal speedup and both ratios follow from the step count.
    """
    finite = [run.psnr for run in variant.runs if np.isfinite(run.psnr)]
    return Row(
        name=variant.name,
        seconds=variant.seconds,
        measured=variant.speedup,
        ideal=variant.reported("ideal_speedup", 1 / variant.work),
        refresh=variant.reported("refresh_ratio", variant.work),
        cost=variant.reported("cost_ratio", variant.work),
        psnr=fmean(finite) if finite else None,
        psnr_spread=stdev(finite) if len(finite) > 1 else 0.0,
        relative_error=fmean(run.relative_error for run in variant.runs),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows under their headings, aligned for a terminal."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def side_by_side(captions: Sequence[str], variants: Sequence[Variant]) -> Image.Image:
    """Return a sheet with one row per caption and one column per variant."""
    font, bold = ImageFont.load_default(size=15), ImageFont.load_default(size=18)
    width = CAPTION_WIDTH + len(variants) * (SCALE + GAP) + GAP
    sheet = Image.new("RGB", (width, 70 + len(captions) * (SCALE + 26 + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, variant in enumerate(variants):
        x = CAPTION_WIDTH + column * (SCALE + GAP)
        draw.text((x, 12), variant.name, INK, bold)
        draw.text((x, 38), f"{variant.seconds:.2f} s, {variant.speedup:.2f}x", INK, font)
        for row, run in enumerate(variant.runs[: len(captions)]):
            y = 66 + row * (SCALE + 26 + GAP)
            sheet.paste(_enlarged(run.picture), (x, y))
            draw.text((x, y + SCALE + 4), _verdict(run), INK, font)
    for row, caption in enumerate(captions):
        y = 66 + row * (SCALE + 26 + GAP)
        draw.multiline_text((GAP, y), "\n".join(textwrap.wrap(caption, 27)), INK, font, spacing=5)
    return sheet


def _verdict(run: Measured) -> str:
    if run.picture is run.reference:
        return "the reference"
    return f"PSNR {run.psnr:.1f} dB" if np.isfinite(run.psnr) else "identical"


def _enlarged(picture: Picture) -> Image.Image:
    image = Image.fromarray((picture * 255).round().astype(np.uint8))
    return image.resize((SCALE, SCALE), Image.Resampling.LANCZOS)

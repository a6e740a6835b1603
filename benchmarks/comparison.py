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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
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


HEADINGS = ("", "seconds", "measured", "ideal", "refresh", "cost", "PSNR dB", "rel. error")


def table(variants: Sequence[Variant]) -> str:
    """Return one row per variant: seconds, speedups, ratios, and the distance from the uncached pictures."""
    rows = [HEADINGS, *map(_row, variants)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _row(variant: Variant) -> tuple[str, ...]:
    # Fewer steps do less of everything alike, so their ideal speedup and both ratios follow from the step count.
    return (
        variant.name,
        f"{variant.seconds:.2f}",
        f"{variant.speedup:.2f}x",
        f"{variant.reported('ideal_speedup', 1 / variant.work):.2f}x",
        f"{variant.reported('refresh_ratio', variant.work):.2f}",
        f"{variant.reported('cost_ratio', variant.work):.2f}",
        _spread([run.psnr for run in variant.runs]),
        f"{fmean(run.relative_error for run in variant.runs):.3f}",
    )


def _spread(values: Sequence[float]) -> str:
    finite = [value for value in values if np.isfinite(value)]
    if len(finite) < len(values):
        return "identical" if not finite else "some identical"
    return f"{fmean(finite):.1f} +- {stdev(finite):.1f}" if len(finite) > 1 else f"{finite[0]:.1f}"


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

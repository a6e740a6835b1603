"""Draws and measures one batch of seeds: every cell of the grid, or the features of one cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from zoo.rendering import render
from zoo.sampling import Pipeline, decode, sample_latents

from ..accuracy import KINDS, Findings, find_attributes
from ..classifier import Classifier
from ..fidelity import latent_error, psnr, ssim
from ..labels import label_scenes
from ..observation import Observation, observe
from ..perceptual import perceptual_distance
from .cells import HEADLINE, Cell, finest, requests, scene_of
from .store import Record, read_record, record_path, write_record

MEASURES = ("psnr", "ssim", "perceptual", "latent_error")
LATENTS = "latents"


@dataclass(frozen=True)
class Bench:
    """What pictures are drawn and judged with."""

    pipeline: Pipeline
    classifier: Classifier
    folder: Path
    """Where records are kept."""


@dataclass(frozen=True)
class Drawn:
    """One cell's pictures of a batch of seeds."""

    latents: Tensor
    pictures: Tensor
    seen: Observation


@dataclass
class SeedBatch:
    """A batch of seeds, drawn in one cell after the other; references are drawn once and kept."""

    bench: Bench
    seeds: range
    references: dict[Cell, Drawn] = field(default_factory=dict)

    def measure(self, cell: Cell) -> None:
        """Draw and measure a cell.

        The record holds the latents, the attributes named and found per kind, and for each reference that the
        cell is compared with, named "<measure>/<reference>", one number per seed.
        """
        drawn = self._draw(cell)
        record: Record = {LATENTS: drawn.latents.numpy(), **count_attributes(drawn.seen, self.seeds)}
        for reference in references_of(cell):
            compared = compare(drawn, self._reference(reference))
            record.update({f"{name}/{reference.name}": values for name, values in compared.items()})
        write_record(record_path(self.bench.folder, cell.name, self.seeds), record)
        if cell in (HEADLINE, finest(cell)):
            self.references[cell] = drawn

    def _reference(self, cell: Cell) -> Drawn:
        if cell not in self.references:
            self.references[cell] = self._draw(cell)
        return self.references[cell]

    def _draw(self, cell: Cell) -> Drawn:
        path = record_path(self.bench.folder, cell.name, self.seeds)
        if path.is_file():
            latents = torch.from_numpy(read_record(path)[LATENTS])
        else:
            latents = sample_latents(self.bench.pipeline, requests(cell, self.seeds))
        pictures = decode(self.bench.pipeline, latents)
        return Drawn(latents, pictures, observe(self.bench.classifier, pictures))


def references_of(cell: Cell) -> tuple[Cell, ...]:
    """What a cell is compared with: its own sampler's finest run, and 20 Euler steps; never itself."""
    if cell.cfg != HEADLINE.cfg:
        return ()
    return tuple(dict.fromkeys(one for one in (finest(cell), HEADLINE) if one != cell))


def compare(drawn: Drawn, reference: Drawn) -> Record:
    """Every measure of pictures against those of the same seeds, one number per seed."""
    values = {
        "psnr": psnr(drawn.pictures, reference.pictures),
        "ssim": ssim(drawn.pictures, reference.pictures),
        "perceptual": perceptual_distance(drawn.seen, reference.seen),
        "latent_error": latent_error(drawn.latents, reference.latents),
    }
    return {name: value.double().numpy() for name, value in values.items()}


def summarise_cell(bench: Bench, cell: Cell, seeds: range, pictures: Tensor) -> None:
    """Keep only the summaries and attribute counts of a batch of pictures (B, H, W, 3)."""
    write_summary(bench, f"summary_{cell.name}", pictures, seeds)


def summarise_data(bench: Bench, seeds: range) -> None:
    """The same of the scenes themselves, drawn by the generator at the model's size."""
    write_summary(bench, "summary_data", render_scenes(seeds, bench.pipeline.size), seeds)


def render_scenes(seeds: range, size: int) -> Tensor:
    """The held-out scenes of some seeds: (B, size, size, 3) float32 in [0, 1]."""
    pixels = np.stack([render(scene_of(seed), size) for seed in seeds])
    return torch.from_numpy(pixels).float() / 255.0


def write_summary(bench: Bench, name: str, pictures: Tensor, seeds: range) -> None:
    """Keep the summaries and attribute counts of a batch of pictures (B, H, W, 3) under a name."""
    seen = observe(bench.classifier, pictures)
    write_record(
        record_path(bench.folder, name, seeds),
        {"summary": seen.summary.numpy(), **count_attributes(seen, seeds)},
    )


def count_attributes(seen: Observation, seeds: range) -> Record:
    """Attributes named and found, each (B, kinds) in the order of `KINDS`."""
    findings = find_attributes(seen.reading, label_scenes([scene_of(seed) for seed in seeds]))
    return {
        name: torch.stack([counts[kind] for kind in KINDS], dim=1).double().numpy()
        for name, counts in (("named", findings.named), ("found", findings.found))
    }


def findings_of(record: Record) -> Findings:
    """The attribute counts of a record."""
    named, found = (
        {kind: torch.from_numpy(record[name][:, index]) for index, kind in enumerate(KINDS)}
        for name in ("named", "found")
    )
    return Findings(named=named, found=found)

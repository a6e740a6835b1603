"""Draws a batch of seeds in one cell, and says what the cache did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from metrics.study.cells import Cell as Requested
from metrics.study.cells import requests
from torch import Tensor
from zoo.sampling import Pipeline, sample_latents

from .cells import CFG, FEWER_STEPS, NUM_STEPS, SAMPLER, UNCACHED, Cell
from .kit import Kit

TOLERANCE = 1e-9
"""Of a refresh ratio against its prediction: both are counts over counts."""


@dataclass(frozen=True)
class Batch:
    """What a cell drew.

    Attributes:
        latents: (B, C, h, w) float32.
        refresh: Measured refresh ratio of each picture.
        cost: Measured cost ratio of each picture.
    """

    latents: Tensor
    refresh: list[float]
    cost: list[float]


class RatioError(RuntimeError):
    """A cache computed another share than its own definition says."""


def drawn_by(pipeline: Pipeline, model: Any) -> Pipeline:
    """The pipeline with another MODEL."""
    return replace(pipeline, model=model)


def draw(kit: Kit, pipeline: Pipeline, cell: Cell, seeds: Sequence[int]) -> Batch:
    """Draw the pictures of some seeds, together or, where pictures decide, one after the other.

    Raises:
        RatioError: If a cache computed more or less than its definition says.
    """
    asked = requests(Requested(SAMPLER, cell.steps, CFG), seeds)
    if cell.method in (UNCACHED, FEWER_STEPS):
        share = cell.steps / NUM_STEPS
        return Batch(sample_latents(pipeline, asked), [share] * len(asked), [share] * len(asked))
    model = cached(kit, pipeline, cell)
    latents, refresh, cost = [], [], []
    for group in [[one] for one in asked] if cell.is_dynamic else [asked]:
        latents.append(sample_latents(drawn_by(pipeline, model), group))
        report = kit.engine.report(model)
        _require_predicted(kit, cell, report, model)
        refresh += [report.refresh_ratio] * len(group)
        cost += [report.cost_ratio] * len(group)
    return Batch(torch.cat(latents), refresh, cost)


def cached(kit: Kit, pipeline: Pipeline, cell: Cell) -> Any:
    """Return the MODEL that carries a cell's method."""
    return kit.engine.carry(pipeline.model, kit.policy(cell), cell.reuse_until, cell.steps)


def _require_predicted(kit: Kit, cell: Cell, report: Any, model: Any) -> None:
    policy = kit.engine.host.find_binding(model).policy
    predicted = kit.predicted(cell, policy, observed_changes(report))
    if predicted is not None and abs(report.refresh_ratio - predicted) > TOLERANCE:
        raise RatioError(
            f'"{cell.name}" computed a share of {report.refresh_ratio}; expected {predicted} by the method\'s own '
            "definition; one of the two is wrong: look at the report's calls"
        )


def observed_changes(report: Any) -> list[float]:
    """Return the indicator's change from each call to the next, as a run's report holds it."""
    return [call.observed for call in report.calls if call.observed is not None]

"""Draws a contender's pictures, and says how much of the network it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from metrics.fidelity import latent_error
from metrics.study.cells import Cell as Setting
from zoo.sampling import Pipeline

from ..cells import FEWER_STEPS, UNCACHED, Cell
from ..engine import sigmas_of
from ..sampling import Batch, drawn_by
from . import dbcache, packs, peers
from .counting import counted
from .drawing import Trail, draw_latents
from .front import CACHE_DIT, EASYCACHE, EASYCACHE_MENDED, LAZYCACHE, PACK, PEERS, SEARCHED, Front
from .kit import SettingKit
from .search import Found, Indices, cheapest_path, jump_errors, search
from .settings import calls_of
from .tuning import thresholds_for

_PEERS = {
    EASYCACHE: peers.easycache,
    EASYCACHE_MENDED: peers.easycache_mended,
    LAZYCACHE: peers.lazycache,
}
FOREIGN = (*PEERS, PACK, CACHE_DIT)
"""Methods that run code of others."""


def carried(kit: SettingKit, pipeline: Pipeline, cell: Cell, family: str) -> Any:
    """Return the MODEL that draws a cell."""
    if cell.method in (UNCACHED, FEWER_STEPS, SEARCHED):
        return pipeline.model
    if cell.method == PACK:
        where = dict(cell.settings)
        path, node, knob = (str(where[name]) for name in ("path", "node", "knob"))
        value = kit.kit.numbers[cell.tuned[1]]
        return packs.carry(pipeline.model, Path(path), node, knob, value, family)
    if cell.method == CACHE_DIT:
        return _cache_dit(kit, pipeline, cell)
    if cell.method in PEERS:
        return _PEERS[cell.method](pipeline.model, kit.kit.numbers[cell.tuned[1]])
    return kit.kit.engine.carry(pipeline.model, kit.kit.policy(cell))


def _cache_dit(kit: SettingKit, pipeline: Pipeline, cell: Cell) -> Any:
    if not cell.tuned[0]:
        return pipeline.model
    given = dict(cell.settings)
    value = kit.kit.numbers[cell.tuned[1]]
    return dbcache.carry(pipeline.model, float(value), int(given["blocks"]), int(given["order"]))


def levels_of(kit: SettingKit, pipeline: Pipeline, cell: Cell) -> tuple[float, ...]:
    """Return the noise levels that a cell passes through."""
    if cell.method == FEWER_STEPS:
        return sigmas_of(pipeline.model, cell.steps)
    if cell.method == SEARCHED:
        return tuple(kit.sigmas[index] for index in kit.lists[cell.steps])
    return kit.sigmas


def draw(
    kit: SettingKit, pipeline: Pipeline, setting: Setting, cell: Cell, seeds: Sequence[int], family: str
) -> Batch:
    """Draw the pictures of some seeds, together or, where pictures decide, one after the other."""
    model = carried(kit, pipeline, cell, family)
    levels = levels_of(kit, pipeline, cell)
    parts = []
    for group in [[seed] for seed in seeds] if cell.is_dynamic else [list(seeds)]:
        with counted(model) as count:
            latents = draw_latents(drawn_by(pipeline, model), setting, group, levels)
        refresh, cost = _work(kit, model, setting, cell, count.share(len(group) * setting.num_passes))
        parts.append((latents, [refresh] * len(group), [cost] * len(group)))
    return Batch(
        torch.cat([latents for latents, _, _ in parts]),
        [one for _, refresh, _ in parts for one in refresh],
        [one for _, _, cost in parts for one in cost],
    )


def _work(kit: SettingKit, model: Any, setting: Setting, cell: Cell, share: float) -> tuple[float, float]:
    """Return refresh and cost ratio: of our caches as reported, of fewer steps by calls, of others by counted blocks."""
    if cell.method in FOREIGN:
        return share, share
    if cell.method in (UNCACHED, FEWER_STEPS, SEARCHED):
        calls = calls_of(setting, cell.steps) / calls_of(setting, setting.steps)
        return calls, calls
    report = kit.kit.engine.report(model)
    return report.refresh_ratio, report.cost_ratio


def tune(
    kit: SettingKit, pipeline: Pipeline, setting: Setting, front: Front, seeds: range, family: str
) -> dict[str, float]:
    """Return the thresholds of a front, by the names that its cells use."""
    assert front.knob is not None
    probe = front.cells[0]

    def share_at(threshold: float) -> float:
        numbers = {probe.tuned[1]: threshold}
        trial = replace(kit, kit=replace(kit.kit, numbers=numbers))
        return fmean(draw(trial, pipeline, setting, probe, seeds, family).refresh)

    names = {cell.share: cell.tuned[1] for cell in front.cells}
    found = thresholds_for(list(names), share_at, front.knob.low, front.knob.high)
    return {name: found[share] for share, name in names.items()}


def search_levels(
    kit: SettingKit, pipeline: Pipeline, setting: Setting, num_steps: int, seeds: range, num_runs: int
) -> Found:
    """Return the best `num_steps` of a setting's noise levels, by the latents' error against the uncached run."""
    trail = Trail()
    reference = draw_latents(pipeline, setting, seeds, kit.sigmas, trail.note)

    def error_of(indices: Indices) -> float:
        latents = draw_latents(pipeline, setting, seeds, [kit.sigmas[index] for index in indices])
        return float(latent_error(latents, reference).mean())

    states = [state.numpy() for state in (*trail.states, trail.outputs[-1])]
    costs = jump_errors(kit.sigmas, states, [output.numpy() for output in trail.outputs])
    return search(setting.steps, num_steps, error_of, num_runs, [cheapest_path(costs, num_steps)])

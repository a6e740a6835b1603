"""Who takes part: fewer steps, this project's default, published methods, rules of packs, ComfyUI's own caches, packs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from metrics.study.cells import Cell as Setting

from ..cells import FEWER_STEPS, Cell, needs_file
from . import dbcache
from .front import (
    CACHE_DIT,
    DEFAULT,
    EASYCACHE,
    EASYCACHE_MENDED,
    LAZYCACHE,
    PACK,
    SEARCHED,
    Front,
    Knob,
    Origin,
    corrected,
    method_cell,
    numbers_of_steps,
    tuned_front,
)
from .packs import PackNode

SHARES, SHORT_SHARES = (75, 55, 40, 28), (70, 48, 32)
"""Percent of the work that thresholds are tuned to."""
FEWER, SHORT_FEWER = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0), (1.25, 1.5, 2.0, 3.0, 4.0)
SEARCHED_AT = (1.25, 1.5, 2.0, 3.0)
"""Uncached steps over fewer steps."""


def fronts(
    setting: Setting,
    family: str,
    *,
    is_full: bool,
    core: Any = None,
    packs: Sequence[PackNode] = (),
    has_cache_dit: bool = False,
) -> tuple[Front, ...]:
    """All fronts of a setting, those of fewer steps first.

    Args:
        setting: Sampler, steps and guidance.
        family: Name of the model; EasyCache does nothing outside Flux.
        is_full: Whether all take part, or the short list.
        core: `cache_core`; its methods that are named nowhere here take part at their defaults. None adds none.
        packs: Nodes of other packs.
        has_cache_dit: Whether cache-dit and diffusers can be imported.
    """
    shares = SHARES if is_full else SHORT_SHARES
    found = [*_fewer(setting, is_full), _default(setting, is_full), *_intervals(setting, is_full)]
    found += [*_thresholds(setting, shares, is_full), *_peers(setting, family, shares)]
    found += list(_cache_dit(setting, family, shares)) if has_cache_dit else []
    found += [_pack(setting, node, shares) for node in packs]
    found += [] if core is None else list(_discovered(setting, core, found))
    return tuple(found)


def _fewer(setting: Setting, is_full: bool) -> Iterator[Front]:
    for name, title, speedups in (
        (FEWER_STEPS, "fewer steps", FEWER if is_full else SHORT_FEWER),
        (SEARCHED, "fewer steps, searched noise levels", SEARCHED_AT),
    ):
        cells = tuple(
            Cell(name=f"{name}_{steps}", label=f"{steps} steps", method=name, steps=steps)
            for steps in numbers_of_steps(setting, speedups)
        )
        yield Front(name=name, title=title, origin="fewer steps", cells=cells)


def _default(setting: Setting, is_full: bool) -> Front:
    speedups = (1.25, 1.5, 2.0, 3.0, 4.0) if is_full else (1.5, 2.0, 3.0)
    cells = tuple(
        method_cell(setting, DEFAULT, f"speedup {speedup:g}", (("speedup", speedup),), share=1 / speedup)
        for speedup in speedups
    )
    return Front(name=DEFAULT, title="Step List at its defaults", origin="ours", cells=cells)


def _intervals(setting: Setting, is_full: bool) -> Iterator[Front]:
    module = _interval_front(setting, "fora", "FORA", "published", (2, 3, 4) if is_full else (2, 3), "module")
    yield module
    yield corrected(module, "forecast", "FORA + Forecast at its defaults", "ours")
    seer = (("order", 1), ("trust", "full"))
    title = "FORA + first order (rule of ComfyUI-TaylorSeer, our implementation)"
    yield corrected(module, "forecast", title, "rule", seer, suffix="_taylor")
    if is_full:
        yield corrected(module, "gradient_optimized", "FORA + GOC", "published")
        yield corrected(module, "error_optimized", "FORA + EOC", "published", artefact="prior")
        whole = "FORA on the whole output (rule of ComfyUI-CacheDiT, our implementation)"
        yield _interval_front(setting, "fora_model", whole, "rule", (2, 3, 4), "model")


def _thresholds(setting: Setting, shares: Sequence[int], is_full: bool) -> Iterator[Front]:
    low = Knob(setting="threshold", low=1e-4, high=3.0)
    teacache = tuned_front(setting, "teacache", "TeaCache, unfitted", "published", low, shares)
    first = "First Block Cache (rule of Comfy-WaveSpeed, our implementation)"
    magnitude = "MagCache, measured ratios (rule of ComfyUI-MagCache, our implementation)"
    yield teacache
    yield tuned_front(setting, "seacache", "SeaCache", "published", low, shares)
    yield tuned_front(setting, "first_block", first, "rule", low, shares)
    yield tuned_front(
        setting, "magcache", magnitude, "rule", low, shares, artefact="ratios", is_dynamic=False
    )
    if is_full:
        fitted = "TeaCache, fitted here (rule of ComfyUI-TeaCache, our implementation)"
        profile = Knob(setting="delta", low=1e-4, high=10.0)
        yield tuned_front(
            setting, "teacache", fitted, "rule", low, shares, artefact="coefficients", name="teacache_fitted"
        )
        yield corrected(teacache, "forecast", "TeaCache, unfitted + Forecast at its defaults", "ours")
        yield tuned_front(
            setting,
            "block_caching",
            "Block Caching",
            "published",
            profile,
            shares,
            artefact="profile",
            is_dynamic=False,
        )


def _peers(setting: Setting, family: str, shares: Sequence[int]) -> Iterator[Front]:
    knob = Knob(setting="reuse_threshold", low=1e-3, high=3.0)
    if family == "flux":
        yield tuned_front(setting, EASYCACHE, "EasyCache of ComfyUI, as shipped", "peer", knob, shares)
        yield tuned_front(
            setting, EASYCACHE_MENDED, "EasyCache of ComfyUI, fp32 error mended", "peer", knob, shares
        )
    yield tuned_front(setting, LAZYCACHE, "LazyCache of ComfyUI", "peer", knob, shares)


def _cache_dit(setting: Setting, family: str, shares: Sequence[int]) -> Iterator[Front]:
    knob = Knob(setting="residual_diff_threshold", low=1e-3, high=3.0)
    for blocks, order in dbcache.fronts_of(family):
        yield tuned_front(
            setting,
            CACHE_DIT,
            f"cache-dit's DBCache F{blocks}B0{' + TaylorSeer' if order else ''}, on diffusers",
            "peer",
            knob,
            shares,
            settings=(("blocks", blocks), ("order", order)),
            name=f"{CACHE_DIT}_f{blocks}{'_taylor' if order else ''}",
        )


def _pack(setting: Setting, node: PackNode, shares: Sequence[int]) -> Front:
    knob = Knob(setting=node.knob, low=1e-3, high=10.0)
    where = (("path", str(node.path)), ("node", node.name), ("knob", node.knob))
    return tuned_front(
        setting,
        PACK,
        f"{node.name} of {node.path.name}",
        "pack",
        knob,
        shares,
        settings=where,
        name=f"pack_{node.path.name}_{node.name}",
    )


def _discovered(setting: Setting, core: Any, listed: Sequence[Front]) -> Iterator[Front]:
    """A method that needs no file and is named nowhere takes part at its defaults."""
    known = {cell.method for front in listed for cell in front.cells}
    for name in core.POLICIES:
        policy = core.POLICIES[name]
        if name not in known and not needs_file(policy):
            is_dynamic = policy(policy.config_type()).indicator is not None
            cell = method_cell(setting, name, "default settings", is_dynamic=is_dynamic)
            yield Front(name=name, title=policy.title, origin="published", cells=(cell,))


def _interval_front(
    setting: Setting, name: str, title: str, origin: Origin, intervals: Sequence[int], level: str
) -> Front:
    cells = tuple(
        method_cell(
            setting,
            "fora",
            f"interval {interval}",
            (("interval", interval), ("level", level)),
            name=f"{name}_{interval}",
            share=1.1 / interval,
        )
        for interval in intervals
    )
    return Front(name=name, title=title, origin=origin, cells=cells)

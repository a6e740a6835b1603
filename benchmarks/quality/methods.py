"""What `bench methods` compares: the uncached run, fewer steps, and every method at several settings."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from .cells import (
    FEWER_STEPS,
    NUM_STEPS,
    REUSES,
    SHARES,
    STRAIGHT,
    UNCACHED,
    Cell,
    fewer,
    needs_file,
    on,
    uncached,
    windowed,
)

AUTHORS_STEPS = "3-15, 19"
"""The steps in which GOC's authors correct at 50 % of 20 steps (qiujx0520/GOC_ICCV2025); of these every second is reused."""


def cells(methods: Collection[str] = (), core: Any = None) -> tuple[Cell, ...]:
    """All cells, the uncached run first.

    Args:
        methods: Only those of these methods and corrections and what they are compared with, if any are given.
        core: `cache_core`; its methods that are not listed here are added at their defaults. None adds none.
    """
    every = (uncached(), *fewer(), *_static(), *_routed(), *_dynamic(), *_corrected(), *_listed())
    every += () if core is None else tuple(_discovered(core, every))
    if not methods:
        return every
    kept = [cell for cell in every if cell.group in (UNCACHED, FEWER_STEPS) or cell.group in methods]
    bare = {cell.against for cell in kept}
    return tuple(cell for cell in every if cell in kept or cell.name in bare)


def groups(core: Any = None) -> tuple[str, ...]:
    """Names of all methods and corrections that are measured, in the order of the tables; `core` as for `cells`."""
    return tuple(
        dict.fromkeys(cell.group for cell in cells(core=core) if cell.group not in (UNCACHED, FEWER_STEPS))
    )


def _discovered(core: Any, listed: Collection[Cell]) -> Iterator[Cell]:
    """A method that needs no file is measured at its defaults, until someone lists settings of interest here.

    A correction comes on FORA of 50 %.
    """
    known = {name for cell in listed for name in (cell.method, cell.correction)}
    for name in core.POLICIES:
        policy = core.POLICIES[name]
        if name not in known and not needs_file(policy):
            label = f"{policy.title}, default settings"
            is_dynamic = policy(policy.config_type()).indicator is not None
            yield Cell(name=f"{name}_defaults", label=label, method=name, is_dynamic=is_dynamic)
    [bare] = [cell for cell in listed if cell.name == "fora_50_percent"]
    for name in core.CORRECTIONS:
        if name not in known and not needs_file(core.CORRECTIONS[name]):
            yield on(bare, name, core.CORRECTIONS[name].title)


def _static() -> Iterator[Cell]:
    for level in ("module", "block", "stack", "model"):
        for interval in (2, 3):
            yield Cell(
                name=f"fora_{interval}_{level}",
                label=f"FORA, interval {interval}, {level}",
                method="fora",
                settings=(("interval", interval), ("level", level)),
                share=1.1 / interval,
            )
    yield Cell(
        name="block_caching_paper",
        label="Block Caching, delta 0.5 (the paper's)",
        method="block_caching",
        settings=(("delta", 0.5),),
        artefact="profile",
        share=0.4,
    )
    for reuse in REUSES:
        yield Cell(
            name=f"block_caching_{reuse}",
            label=f"Block Caching, delta for {reuse} % reuse",
            method="block_caching",
            artefact="profile",
            tuned=("delta", f"delta_{reuse}"),
            share=1 - reuse / 100,
        )


def _listed() -> Iterator[Cell]:
    """This project's default, for comparison: `bench presets` and `bench quality` are about it."""
    for speedup in (1.5, 2.0, 3.0):
        yield Cell(
            name=f"step_list_{speedup:g}",
            label=f"Step List, speedup {speedup:g}",
            method="step_list",
            settings=(("speedup", speedup),),
            share=1 / speedup,
        )


def _routed() -> Iterator[Cell]:
    titles = {"learning_to_cache": "Learning-to-Cache", "harmonica": "HarmoniCa"}
    for method, reuses in {"learning_to_cache": (25, 45), "harmonica": REUSES}.items():
        for reuse in reuses:
            yield Cell(
                name=f"{method}_{reuse}",
                label=f"{titles[method]}, hand-made router, {reuse} % reuse",
                method=method,
                artefact=f"{method}_{reuse}",
                share=1 - reuse / 100,
            )
    yield Cell(
        name="mask_50", label="Mask, evenly spread, 50 % reuse", method="mask", artefact="mask_50", share=0.5
    )
    yield Cell(
        name="mask_early",
        label="Mask, 10 full steps, most of them early, stack",
        method="mask",
        artefact="mask_early",
        share=0.5,
    )


def _dynamic() -> Iterator[Cell]:
    for share in SHARES:
        for kind, artefact in (("identity", ""), ("fitted", "coefficients")):
            yield Cell(
                name=f"teacache_{kind}_{share}",
                label=f"TeaCache, {kind}, threshold for {share} %",
                method="teacache",
                artefact=artefact,
                tuned=("threshold", f"{kind}_{share}"),
                is_dynamic=True,
                share=share / 100,
            )
        yield Cell(
            name=f"seacache_{share}",
            label=f"SeaCache, threshold for {share} %",
            method="seacache",
            tuned=("threshold", f"seacache_{share}"),
            is_dynamic=True,
            share=share / 100,
        )


def _corrected() -> Iterator[Cell]:
    """FORA at the authors' schedules: interval 2 in the first half only, interval 2, interval 4; bare and corrected.

    GOC's authors leave out the step at which their network's features turn back: here once that step, and at every schedule
    those that the prior names for the network at hand.
    """
    for reuse, interval, until in ((25, 2, NUM_STEPS // 2), (50, 2, None), (75, 4, None)):
        bare = windowed(reuse, interval, until)
        yield bare
        yield on(bare, "error_optimized", "EOC", "prior", is_headline=True)
        yield on(bare, "gradient_optimized", "GOC", is_headline=True)
        straight = ("steps", STRAIGHT)
        yield on(bare, "gradient_optimized", "GOC, not where features turn back", tuned=straight)
        if reuse == 50:
            printed = (("eta", 1.2), ("reach", "whole change"))
            yield on(bare, "gradient_optimized", "GOC, eta 1.2, whole change", settings=printed)
            listed = (*printed, ("steps", AUTHORS_STEPS))
            yield on(
                bare, "gradient_optimized", "GOC, eta 1.2, whole change, not in step 17", settings=listed
            )
        if reuse == 75:
            # Theta 1 is the default, which is measured at every schedule.
            yield on(bare, "error_optimized", "EOC, theta 0.25", "prior", (("theta", 0.25),))

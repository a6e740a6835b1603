"""What is compared: the uncached run, fewer steps, and every method at several settings, as data.

A cell names what it takes from the kit, that is from calibration or from a hand-made file, so that this list is known
before anything was measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

NUM_STEPS, CFG, SAMPLER = 20, 4.0, "euler"
FEWER = (4, 5, 6, 7, 8, 10, 12, 15, 18)
UNCACHED, FEWER_STEPS, DATA = "uncached", "fewer_steps", "data"
SHARES = (75, 50, 35)
"""Percent of the calls that dynamic methods are set to compute."""
REUSES = (25, 50, 75)
"""Percent of the evaluations that static methods reuse."""

Value = str | int | float
Pairs = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to sample.

    Attributes:
        name: Name of its records, unique.
        label: What the tables call it.
        method: Name of the method, `UNCACHED` or `FEWER_STEPS`.
        settings: Of the method.
        artefact: What of the kit its configuration gets, or "".
        tuned: Setting and number of the kit that it gets, or ("", "").
        steps: Of the sampler.
        reuse_until: First step from which on everything is computed.
        correction: Name of the correction on top, or "".
        correction_settings: Of the correction.
        correction_artefact: What of the kit the correction gets, or "".
        against: Name of the cell without the correction, or "".
        is_dynamic: Whether the pictures decide what is computed, so that each is drawn alone.
        is_headline: Whether it is also drawn for a Frechet distance.
        share: About which part of the work it does, for estimates of time.
    """

    name: str
    label: str
    method: str
    settings: Pairs = ()
    artefact: str = ""
    tuned: tuple[str, str] = ("", "")
    steps: int = NUM_STEPS
    reuse_until: int | None = None
    correction: str = ""
    correction_settings: Pairs = ()
    correction_artefact: str = ""
    against: str = ""
    is_dynamic: bool = False
    is_headline: bool = False
    share: float = 1.0

    @property
    def group(self) -> str:
        """Whose row it is: of the correction where there is one, else of the method."""
        return self.correction or self.method

    @property
    def num_passes(self) -> int:
        """About how many forward passes a picture takes."""
        return round(2 * self.steps * self.share)


def cells(methods: Collection[str] = (), core: Any = None) -> tuple[Cell, ...]:
    """All cells, the uncached run first.

    Args:
        methods: Only those of these methods and corrections and what they are compared with, if any are given.
        core: `cache_core`; its methods that are not listed here are added at their defaults. None adds none.
    """
    every = (uncached(), *fewer(), *_static(), *_routed(), *_dynamic(), *_corrected())
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


def needs_file(policy: Any) -> bool:
    """Whether a method does nothing without an artefact."""
    return any(details.kinds and item.default is None for item, details in policy.config_type.settings())


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
            yield _on(bare, name, core.CORRECTIONS[name].title)


def uncached() -> Cell:
    """The run that all others are compared with."""
    return Cell(name=UNCACHED, label="uncached", method=UNCACHED, is_headline=True)


def data() -> Cell:
    """The scenes that the captions describe, drawn by the generator; what Frechet distances are to."""
    return Cell(name=DATA, label="the scenes themselves", method=DATA, is_headline=True, share=0.0)


def fewer() -> Iterator[Cell]:
    """Fewer steps on the scheduler's own spacing, most first."""
    for steps in reversed(FEWER):
        yield Cell(
            name=f"{FEWER_STEPS}_{steps}",
            label=f"{steps} steps",
            method=FEWER_STEPS,
            steps=steps,
            is_headline=steps == NUM_STEPS // 2,
        )


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
    """FORA at the authors' schedules: interval 2 in the first half only, interval 2, interval 4; bare and corrected."""
    for reuse, interval, until in ((25, 2, NUM_STEPS // 2), (50, 2, None), (75, 4, None)):
        bare = Cell(
            name=f"fora_{reuse}_percent",
            label=f"FORA, {reuse} % cached",
            method="fora",
            settings=(("interval", interval), ("anchor", "start")),
            reuse_until=until,
            is_headline=True,
            share=1 - reuse / 100,
        )
        yield bare
        yield _on(bare, "error_optimized", "EOC", "prior", is_headline=True)
        yield _on(bare, "gradient_optimized", "GOC", is_headline=True)
        if reuse == 50:
            printed = (("eta", 1.2), ("reach", "whole change"))
            yield _on(bare, "gradient_optimized", "GOC, eta 1.2, whole change", settings=printed)


def _on(
    bare: Cell,
    correction: str,
    label: str,
    artefact: str = "",
    settings: Pairs = (),
    is_headline: bool = False,
) -> Cell:
    return Cell(
        name="_".join([bare.name, correction, *(str(value).replace(" ", "_") for _, value in settings)]),
        label=f"{bare.label} + {label}",
        method=bare.method,
        settings=bare.settings,
        reuse_until=bare.reuse_until,
        correction=correction,
        correction_settings=settings,
        correction_artefact=artefact,
        against=bare.name,
        is_headline=is_headline,
        share=bare.share,
    )

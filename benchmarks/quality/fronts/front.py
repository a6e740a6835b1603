"""A front: one line in the plots, which is several ways to sample from cheap to dear, as data.

A method on its own, or with one correction, or fewer steps. Whose it is decides how it is called: what this project
recommends, a published method in its engine, the rule of a ComfyUI pack in its engine, or a peer that runs its own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from metrics.study.cells import Cell as Setting

from ..cells import UNCACHED, Cell, Pairs

SEARCHED = "searched_steps"
EASYCACHE, EASYCACHE_MENDED, LAZYCACHE = "easycache", "easycache_mended", "lazycache"
PEERS = (EASYCACHE, EASYCACHE_MENDED, LAZYCACHE)
PACK = "pack"
CACHE_DIT, UNCACHED_DIFFUSERS = "cache_dit", "uncached_diffusers"
DEFAULT = "step_list"
"""The front of what this project recommends."""
Origin = Literal["fewer steps", "ours", "published", "rule", "peer", "pack"]


@dataclass(frozen=True, kw_only=True)
class Knob:
    """What is tuned until a method does a share of the work: a setting, between two values."""

    setting: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Front:
    """One line in the plots.

    Attributes:
        name: Unique.
        title: What the pages call it.
        origin: Whose it is.
        cells: Ways to sample.
        knob: What is tuned for them, or None.
        tuned_as: Name of the front whose thresholds these are.
    """

    name: str
    title: str
    origin: Origin
    cells: tuple[Cell, ...]
    knob: Knob | None = None
    tuned_as: str = ""


def uncached(setting: Setting) -> Cell:
    """The run that all others are compared with."""
    return Cell(name=UNCACHED, label="uncached", method=UNCACHED, steps=setting.steps)


def reference(setting: Setting, cell: Cell) -> Cell:
    """The run that a cell is compared with: the uncached one of the same network."""
    own = uncached(setting)
    return replace(own, name=UNCACHED_DIFFUSERS, method=CACHE_DIT) if cell.method == CACHE_DIT else own


def numbers_of_steps(setting: Setting, speedups: Sequence[float]) -> tuple[int, ...]:
    """Fewer steps at some speedups, most first, each once and at least two."""
    found = {max(2, round(setting.steps / speedup)) for speedup in speedups}
    return tuple(sorted((steps for steps in found if steps < setting.steps), reverse=True))


def number_name(front: str, share: int) -> str:
    """What the kit calls a tuned threshold."""
    return f"{front}_{share}"


def bare(cell: Cell) -> Cell:
    """Return a cell without its correction."""
    return replace(cell, correction="", correction_settings=(), correction_artefact="", against="")


def all_cells(chosen: Sequence[Front]) -> tuple[Cell, ...]:
    """The cells of some fronts, in order."""
    return tuple(chain.from_iterable(front.cells for front in chosen))


def method_cell(
    setting: Setting, method: str, label: str, settings: Pairs = (), *, name: str = "", **more: Any
) -> Cell:
    """Return a cell of a method; named after its settings where it has no other name."""
    name = name or "_".join([method, *(f"{value:g}" for _, value in settings)])
    return Cell(name=name, label=label, method=method, settings=settings, steps=setting.steps, **more)


def tuned_front(
    setting: Setting,
    method: str,
    title: str,
    origin: Origin,
    knob: Knob,
    shares: Sequence[int],
    *,
    artefact: str = "",
    name: str = "",
    settings: Pairs = (),
    is_dynamic: bool = True,
) -> Front:
    """Return a front whose threshold is tuned to shares of the work.

    Args:
        setting: Sampler, steps and guidance.
        method: Name of the method.
        title: What the pages call it.
        origin: Whose it is.
        knob: What is tuned.
        shares: In percent.
        artefact: What the method takes from calibration, or "".
        name: Of the front, where it is not the method's.
        settings: Of the method.
        is_dynamic: Whether pictures decide, so that each is drawn alone.
    """
    front = name or method
    cells = tuple(
        method_cell(
            setting,
            method,
            f"{knob.setting} for {share} %",
            settings,
            name=f"{front}_{share}",
            artefact=artefact,
            tuned=(knob.setting, number_name(front, share)),
            is_dynamic=is_dynamic,
            share=share / 100,
        )
        for share in shares
    )
    return Front(name=front, title=title, origin=origin, cells=cells, knob=knob, tuned_as=front)


def corrected(
    bare: Front,
    correction: str,
    title: str,
    origin: Origin,
    given: Pairs = (),
    *,
    artefact: str = "",
    suffix: str = "",
) -> Front:
    """Return a front with a correction on top of every cell."""
    name = f"{bare.name}_{correction}{suffix}"
    cells = tuple(
        replace(
            cell,
            name=f"{cell.name}_{correction}{suffix}",
            correction=correction,
            correction_settings=given,
            correction_artefact=artefact,
            against=cell.name,
        )
        for cell in bare.cells
    )
    return Front(name=name, title=title, origin=origin, cells=cells, tuned_as=bare.tuned_as)

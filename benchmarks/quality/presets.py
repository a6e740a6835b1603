"""From measured speedups to what an intent means: the page of all that was measured, and the table that ships."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from metrics.intervals import Interval, mean_interval
from metrics.study.cells import Cell as Setting

from .tables import FAMILIES
from .tables import table as markdown

CLASSES = {
    "euler": "first order",
    "dpmpp_2m": "multistep",
    "heun": "several calls",
    "euler_ancestral": "new noise",
}
"""Of the samplers that are measured, by `cache_core.SamplerClass`."""
FLOWS = ("flux", "sd3")
METHOD = "step_list"
"""Whose speedups they are."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Step List at one speedup in one setting of a model.

    Attributes:
        psnr: Mean over the pictures that differ from the uncached ones, in dB; None where none does.
        low: Lower bound of its 95 % interval.
        high: Upper bound.
    """

    family: str
    sampler: str
    steps: int
    cfg: float
    speedup: float
    num_seeds: int
    psnr: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, family: str, setting: Setting, speedup: float, scores: Sequence[float]) -> Measured:
        """Return what the PSNR of some pictures says."""
        finite = np.array([one for one in scores if math.isfinite(one)])
        alone = Interval(value=finite[0], low=finite[0], high=finite[0]) if len(finite) == 1 else None
        found = mean_interval(finite) if len(finite) > 1 else alone
        return cls(
            family=family,
            sampler=setting.sampler,
            steps=setting.steps,
            cfg=setting.cfg,
            speedup=speedup,
            num_seeds=len(scores),
            psnr=None if found is None else found.value,
            low=None if found is None else found.low,
            high=None if found is None else found.high,
        )


def read(path: Path) -> list[Measured]:
    """Return what `python dev.py bench presets` has written."""
    return [Measured(**one) for one in json.loads(path.read_text(encoding="utf-8"))]


class Intent(Protocol):
    """What an intent asks for: see `cache_core/presets.py`."""

    floor: float
    most: float


def derive(found: Sequence[Measured], intents: Mapping[str, Intent]) -> Iterator[dict[str, Any]]:
    """Yield the rows that ship: at every place the largest speedup that meets each intent, with all smaller ones."""
    steps = sorted({one.steps for one in found})
    for flow, guided, (sampler, kind), count in product((True, False), (False, True), CLASSES.items(), steps):
        own = [one for one in found if (one.sampler, one.steps) == (sampler, count)]
        own = [one for one in own if (one.family in FLOWS, one.cfg != 1.0) == (flow, guided)]
        if own:
            speedups = {name: _largest(own, intent) for name, intent in intents.items()}
            yield {"flow": flow, "guided": guided, "sampler": kind, "steps": count, "speedups": speedups}


def _largest(own: Sequence[Measured], intent: Intent) -> float:
    missed = [one.speedup for one in own if one.psnr is not None and one.psnr < intent.floor]
    allowed = [one.speedup for one in own if one.speedup <= intent.most]
    return max((speedup for speedup in allowed if speedup < min(missed, default=math.inf)), default=1.0)


def table(found: Sequence[Measured]) -> str:
    """PSNR by speedup, a row per setting."""
    speedups = sorted({one.speedup for one in found})
    places = dict.fromkeys((one.family, one.sampler, one.cfg, one.steps) for one in found)
    by_place = {(one.family, one.sampler, one.cfg, one.steps, one.speedup): one for one in found}
    lines = [
        (
            f"{FAMILIES[family]}, {sampler}, cfg {cfg:g}, {steps} steps",
            *(_spell(by_place.get((family, sampler, cfg, steps, speedup))) for speedup in speedups),
        )
        for family, sampler, cfg, steps in places
    ]
    return markdown(("", *(f"{speedup:g} times" for speedup in speedups)), lines)


def _spell(one: Measured | None) -> str:
    if one is None:
        return "-"
    return "identical" if one.psnr is None else f"{one.psnr:.1f} ({one.low:.1f} to {one.high:.1f})"


def page(found: Sequence[Measured], intents: Mapping[str, Intent]) -> str:
    """The page: what ships, and what it was taken from."""
    wanted = ", ".join(
        f"*{name}* {one.floor:g} dB and at most {one.most:g} times" for name, one in intents.items()
    )
    num_seeds = " and ".join(map(str, sorted({one.num_seeds for one in found})))
    introduction = (
        "The setting `intent` of Step List takes the largest measured speedup whose pictures have at least this PSNR against the "
        f"uncached ones: {wanted}; of several models of a kind the one that fares worst counts, and every smaller speedup must "
        "meet it too. 1 computes every step. There is a largest speedup because large models of large pictures bear less than "
        f"the zoo's. Measured by `{_command(found)}` on the zoo's models, on prompts and seeds that no "
        "other measurement uses. What a decibel is on a larger model may differ: look at your pictures."
    )
    taken_from = (
        f"PSNR in dB against the uncached picture of the same seed with its 95 % interval, {num_seeds} seeds, Step List at its "
        "defaults."
    )
    lines = [
        (_name(row), *(f"{row['speedups'][name]:g}" for name in intents)) for row in derive(found, intents)
    ]
    parts = ["# Intents, measured", introduction, markdown(("", *intents), lines)]
    return "\n\n".join([*parts, "## What it was taken from", taken_from, table(found)]) + "\n"


def _command(found: Sequence[Measured]) -> str:
    """Return the command that measures as much as was measured."""
    seeds, steps = ({getattr(one, name) for one in found} for name in ("num_seeds", "steps"))
    return f"python dev.py bench presets --seeds {max(seeds)} --steps {' '.join(map(str, sorted(steps)))}"


def _name(row: Mapping[str, Any]) -> str:
    kind, guidance = "flow models" if row["flow"] else "others", "guided" if row["guided"] else "cfg 1"
    return f"{kind}, {guidance}, {row['sampler']}, {row['steps']} steps"

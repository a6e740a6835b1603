"""What is measured over: families, samplers, step counts, guidance; and in which of two sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from metrics.study.cells import Cell as Setting

from .names import CFGS, FAMILIES, SAMPLERS, STEPS

FIRST_SEED = 20_000
"""First seed, and so caption, that is measured; the methods were made and are tuned on earlier ones only."""
FIRST_TUNING_SEED = 18_000
"""First seed for calibration, thresholds and searched noise levels."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        families: Which models.
        samplers: Which samplers.
        steps: Which step counts.
        cfgs: Which guidance.
        seeds: Pictures per contender.
        pairs: Pictures on which time is measured.
        tuning: Pictures on which thresholds are found.
        searching: Pictures on which noise levels are searched.
        runs: Most sampling runs of one search.
        samples: Pictures for each Frechet distance of the headline setting; 0 leaves them out.
        is_full: Whether all contenders take part with Euler and at 20 steps, or the short list everywhere.
    """

    families: tuple[str, ...]
    samplers: tuple[str, ...]
    steps: tuple[int, ...]
    cfgs: tuple[float, ...]
    seeds: int
    pairs: int
    tuning: int
    searching: int
    runs: int
    samples: int
    is_full: bool


SIZES = {
    "five-minutes": Size(
        families=("flux",),
        samplers=("euler",),
        steps=(20,),
        cfgs=CFGS,
        seeds=10,
        pairs=2,
        tuning=1,
        searching=2,
        runs=12,
        samples=0,
        is_full=False,
    ),
    "overnight": Size(
        families=FAMILIES,
        samplers=SAMPLERS,
        steps=STEPS,
        cfgs=CFGS,
        seeds=32,
        pairs=3,
        tuning=2,
        searching=2,
        runs=32,
        samples=1024,
        is_full=True,
    ),
}


def takes_all(size: Size, setting: Setting) -> bool:
    """Whether all contenders take part in a setting, or the short list."""
    return size.is_full and (setting.sampler == "euler" or setting.steps == 20)


def settings(size: Size) -> tuple[Setting, ...]:
    """All settings of a size; those that decide most come first, so that an early end leaves them measured."""
    found = [
        Setting(sampler, steps, cfg) for sampler in size.samplers for steps in size.steps for cfg in size.cfgs
    ]
    return tuple(sorted(found, key=_rank))


def _rank(setting: Setting) -> tuple[int, int, float]:
    return (
        _place(setting.sampler, SAMPLERS) + _place(setting.steps, (20, 50, 28, 10)),
        _place(setting.sampler, SAMPLERS),
        -setting.cfg,
    )


def _place(value: object, order: Iterable[object]) -> int:
    known = list(order)
    return known.index(value) if value in known else len(known)


def calls_of(setting: Setting, steps: int) -> int:
    """Evaluations of the model in `steps` steps of a setting's sampler."""
    return Setting(setting.sampler, steps, setting.cfg).num_calls

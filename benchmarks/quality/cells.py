"""A cell is one way to sample, as data: the uncached run, fewer steps, or a method at some settings.

It names what it takes from the kit, that is from calibration or from a file, so that all cells are known before anything was
measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

NUM_STEPS, CFG, SAMPLER = 20, 4.0, "euler"
FEWER = (4, 5, 6, 7, 8, 10, 12, 15, 18)
UNCACHED, FEWER_STEPS, DATA = "uncached", "fewer_steps", "data"
SHARES = (75, 50, 35)
"""Percent of the calls that dynamic methods are set to compute."""
REUSES = (25, 50, 75)
"""Percent of the evaluations that static methods reuse."""
PICTURES = {"profile": 16, "prior": 48, "coefficients": 12, "identity": 4, "fitted": 4, "seacache": 4}
"""What calibration makes, in the order it makes it, and on how many pictures."""

STRAIGHT = "straight_steps"
"""Of the kit's numbers: the steps at which, by the prior, features do not turn back."""
DERIVED = {STRAIGHT: "prior"}
"""Numbers of the kit that come from an artefact of it, and from which."""

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
        artefact: What its configuration gets of the kit, or the name of a trained file of the zoo without suffix, or "".
        variant: What is done to a trained file first, as `trained.read` knows it, or "".
        tuned: Setting and number of the kit that it gets, or ("", "").
        steps: Of the sampler.
        reuse_until: First step from which on everything is computed.
        correction: Name of the correction on top, or "".
        correction_settings: Of the correction.
        correction_artefact: What of the kit the correction gets, or "".
        correction_tuned: Setting of the correction and what of the kit's numbers it gets, or ("", "").
        against: Name of the cell without the correction, or "".
        is_dynamic: Whether the pictures decide what is computed, so that each is drawn alone.
        is_headline: Whether it is also drawn for a Frechet distance.
        num_seeds: Of the first seeds only so many; it is then neither timed nor a row of its own. None takes all.
        share: About which part of the work it does, for estimates of time.
    """

    name: str
    label: str
    method: str
    settings: Pairs = ()
    artefact: str = ""
    variant: str = ""
    tuned: tuple[str, str] = ("", "")
    steps: int = NUM_STEPS
    reuse_until: int | None = None
    correction: str = ""
    correction_settings: Pairs = ()
    correction_artefact: str = ""
    correction_tuned: tuple[str, str] = ("", "")
    against: str = ""
    is_dynamic: bool = False
    is_headline: bool = False
    num_seeds: int | None = None
    share: float = 1.0

    @property
    def group(self) -> str:
        """Whose row it is: of the correction where there is one, else of the method, or of what was made of its file."""
        return self.correction or f"{self.method} {self.variant}".rstrip()

    @property
    def definition(self) -> str:
        """What is drawn, whatever it is called."""
        own = (
            self.method,
            self.settings,
            self.artefact,
            self.variant,
            self.tuned,
            self.steps,
            self.reuse_until,
        )
        on_top = (self.correction, self.correction_settings, self.correction_artefact)
        # Only where there is one, so that the records of all other cells keep their names.
        tuned = [self.correction_tuned] if self.correction_tuned[0] else []
        return repr((own, on_top, self.is_dynamic, *tuned))

    @property
    def num_passes(self) -> int:
        """About how many forward passes a picture takes."""
        return round(2 * self.steps * self.share)


def needs_file(policy: Any) -> bool:
    """Whether a method does nothing without an artefact."""
    return any(details.kinds and item.default is None for item, details in policy.config_type.settings())


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


def windowed(reuse: int, interval: int, until: int | None, *, is_headline: bool = True) -> Cell:
    """FORA with one full step in `interval`, counted from the first, until all steps are full, so that `reuse` percent are cached."""
    return Cell(
        name=f"fora_{reuse}_percent",
        label=f"FORA, {reuse} % cached",
        method="fora",
        settings=(("interval", interval), ("anchor", "start")),
        reuse_until=until,
        is_headline=is_headline,
        share=1 - reuse / 100,
    )


def on(
    bare: Cell,
    correction: str,
    label: str,
    artefact: str = "",
    settings: Pairs = (),
    is_headline: bool = False,
    tuned: tuple[str, str] = ("", ""),
) -> Cell:
    """A correction on top of a bare cell, with what it gets of the kit and its settings."""
    words = [correction, *(str(value).replace(",", "").replace(" ", "_") for _, value in settings), tuned[1]]
    return replace(
        bare,
        name="_".join([bare.name, *filter(None, words)]),
        label=f"{bare.label} + {label}",
        correction=correction,
        correction_settings=settings,
        correction_artefact=artefact,
        correction_tuned=tuned,
        against=bare.name,
        is_headline=is_headline,
    )

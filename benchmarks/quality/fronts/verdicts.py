"""Who is nearest to the uncached picture at equal time or cost: what this project recommends against each kind of rival."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from .names import SPEEDUPS
from .sheets import Line, number, setting_of

REACH = 1.1
"""A rival counts at a time if it can be as fast, up to this factor."""
KINDS = {
    "fewer": "fewer steps",
    "searched": "fewer steps, searched noise levels",
    "peer": "best of ComfyUI's own caches, packs and cache-dit",
    "method": "best published method",
}
"""Kinds of rivals and what the tables call them; combinations of this project are none."""
_KIND_OF = {"peer": "peer", "pack": "peer", "published": "method", "rule": "method"}


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The best of a kind at the time of ours.

    Attributes:
        title: Which it is.
        psnr: Its mean, in dB.
        gain: Ours minus it, in dB, with the bounds of the paired interval.
    """

    title: str
    psnr: float
    gain: float
    low: float
    high: float

    @property
    def is_beaten(self) -> bool:
        """Whether ours is nearer to the uncached picture beyond the interval."""
        return self.low > 0.0

    @property
    def is_winner(self) -> bool:
        """Whether it is nearer than ours beyond the interval."""
        return self.high < 0.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One setting at one speedup.

    Attributes:
        setting: Family, sampler, steps and guidance, as the files write them.
        speedup: One step in so many is computed.
        psnr: Of ours, in dB.
        at: Time or cost of ours, over that of the uncached run.
        rivals: The best of every kind that can be as fast, or as cheap.
    """

    setting: tuple[str, ...]
    speedup: float
    psnr: float
    at: float
    rivals: dict[str, Rival]

    @property
    def best(self) -> Rival | None:
        """The strongest rival of all kinds."""
        return max(self.rivals.values(), key=lambda one: one.psnr, default=None)


def verdicts(duels: Iterable[Line], axis: str = "time") -> list[Verdict]:
    """Return a verdict for every setting and compared speedup, in the order of the lines.

    Args:
        duels: Lines of the file of duels.
        axis: "time" or "cost".
    """
    chosen = [line for line in duels if line["axis"] == axis and float(line["speedup"]) in SPEEDUPS]
    chosen.sort(key=lambda line: float(line["speedup"]))
    settings = dict.fromkeys(setting_of(line) for line in duels)
    ranked = sorted(chosen, key=lambda line: (list(settings).index(setting_of(line)), float(line["speedup"])))
    groups = groupby(ranked, key=lambda line: (setting_of(line), float(line["speedup"])))
    return [_verdict(setting, speedup, list(lines)) for (setting, speedup), lines in groups]


def _verdict(setting: tuple[str, ...], speedup: float, lines: Sequence[Line]) -> Verdict:
    found: dict[str, Rival] = {}
    for line in lines:
        kind, rival = kind_of(line), _rival(line)
        if kind and _is_as_fast(line) and (kind not in found or rival.psnr > found[kind].psnr):
            found[kind] = rival
    ours = max(lines, key=lambda line: float(line["psnr"]))
    return Verdict(
        setting=setting,
        speedup=speedup,
        psnr=float(ours["psnr"]),
        at=float(ours["at"]),
        rivals={kind: found[kind] for kind in KINDS if kind in found},
    )


def kind_of(line: Line) -> str:
    """Return the kind of rival of a line; "" for what is this project's own."""
    if line["origin"] == "fewer steps":
        return "fewer" if line["front"] == "fewer_steps" else "searched"
    return _KIND_OF.get(line["origin"], "")


def _is_as_fast(line: Line) -> bool:
    at, rival_at = number(line, "at"), number(line, "rival_at")
    return at is not None and rival_at is not None and rival_at <= REACH * at


def _rival(line: Line) -> Rival:
    value, low, high = (float(line[name]) for name in ("gain", "gain_low", "gain_high"))
    return Rival(title=line["title"], psnr=float(line["rival_psnr"]), gain=value, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What was aimed at, before measuring: a margin in dB against a kind of rival."""

    text: str
    speedup: float
    kind: str
    margin: float
    is_beyond_interval: bool = False

    def is_met(self, verdict: Verdict) -> bool | None:
        """Whether a verdict meets it; None where there is no such rival or the speedup is another."""
        rival = verdict.rivals.get(self.kind)
        if rival is None or verdict.speedup != self.speedup:
            return None
        return rival.gain >= self.margin and (rival.is_beaten or not self.is_beyond_interval)


GOALS = (
    Goal(text="2 times as fast: 6 dB above fewer steps", speedup=2.0, kind="fewer", margin=6.0),
    Goal(text="2 times: 2 dB above searched noise levels", speedup=2.0, kind="searched", margin=2.0),
    Goal(
        text="2 times: above the best peer beyond the interval",
        speedup=2.0,
        kind="peer",
        margin=0.0,
        is_beyond_interval=True,
    ),
    Goal(text="3 times: 3 dB above fewer steps", speedup=3.0, kind="fewer", margin=3.0),
    Goal(text="3 times: 1 dB above searched noise levels", speedup=3.0, kind="searched", margin=1.0),
)
"""For 20 Euler steps, every family, with guidance and without."""

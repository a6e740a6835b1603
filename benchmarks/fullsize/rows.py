"""What the pairs of one network say: a row per cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from .losses import Losses
from .presets import Preset
from .rounds import Pair, Records

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cache on one network, without torch.compile or with it; medians over the rounds.

    Attributes:
        rounds: Pairs behind the row.
        seconds: Of a picture.
        seconds_range: Least and most of them.
        plain_seconds: Of an uncached picture.
        measured: Time of the uncached picture's calls over that of the cached one's.
        left: Share of the uncached calls' time that is left where the site work that was not run is taken off.
        efficiency: Measured over ideal speedup.
        efficiency_range: Least and most of it.
        refresh: Computed over all site evaluations.
        extra_bytes: Most memory of the device in use, over the uncached picture's; 0 on the CPU.
        held_bytes: Most bytes of features held, wherever.
        copies: Share of the cached calls' time; None where it was not measured, like the next four.
        stand_ins: Likewise.
        deciding: Likewise.
        idle: Share of the cached picture's time in which the device ran nothing.
        plain_idle: Likewise, of the uncached picture's.
    """

    setting: str
    rounds: int
    seconds: float
    seconds_range: Range
    plain_seconds: float
    measured: float
    left: float
    efficiency: float
    efficiency_range: Range
    refresh: float
    extra_bytes: int
    held_bytes: int
    copies: float | None = None
    stand_ins: float | None = None
    deciding: float | None = None
    idle: float | None = None
    plain_idle: float | None = None

    @property
    def ideal(self) -> float:
        """The ideal speedup."""
        return 1.0 / self.left if self.left else float("inf")

    @property
    def lost(self) -> float:
        """Share of the cached calls' time that the ideal would not take."""
        return 1.0 - self.efficiency

    @property
    def rest(self) -> float | None:
        """What of it is neither copies nor stand-ins nor deciding."""
        if self.copies is None or self.stand_ins is None or self.deciding is None:
            return None
        return self.lost - self.copies - self.stand_ins - self.deciding


def rows(records: Records, presets: Iterable[Preset]) -> list[Row]:
    """Return the rows of what was measured until now without torch.compile."""
    measured = [(preset, records.pairs(preset)) for preset in presets]
    return [
        _row(
            preset.title, pairs, [_left(pair) for pair in pairs], records.losses(preset), records.plain_idle()
        )
        for preset, pairs in measured
        if pairs
    ]


def compiled_rows(records: Records, presets: Iterable[Preset], uncompiled: Sequence[Row]) -> list[Row]:
    """Return the rows with torch.compile, whose ideal is that without: in a graph no site can be timed.

    A cache that was not measured without has no row.
    """
    left = {row.setting: row.left for row in uncompiled}
    measured = [(preset, records.pairs(preset)) for preset in presets if preset.title in left]
    return [
        _row(preset.title, pairs, [left[preset.title]] * len(pairs), None, None)
        for preset, pairs in measured
        if pairs
    ]


def _left(pair: Pair) -> float:
    return max(0.0, 1.0 - pair.cached.saved / pair.plain.calls)


def _row(
    title: str, pairs: Sequence[Pair], left: Sequence[float], losses: Losses | None, plain_idle: float | None
) -> Row:
    measured = [pair.plain.calls / pair.cached.calls for pair in pairs]
    efficiency = [speedup * share for speedup, share in zip(measured, left, strict=True)]
    seconds = [pair.cached.seconds for pair in pairs]
    row = Row(
        setting=title,
        rounds=len(pairs),
        seconds=median(seconds),
        seconds_range=(min(seconds), max(seconds)),
        plain_seconds=median(pair.plain.seconds for pair in pairs),
        measured=median(measured),
        left=median(left),
        efficiency=median(efficiency),
        efficiency_range=(min(efficiency), max(efficiency)),
        refresh=median(pair.cached.refresh for pair in pairs),
        extra_bytes=max(pair.cached.peak_bytes - pair.plain.peak_bytes for pair in pairs),
        held_bytes=max(pair.cached.held_bytes for pair in pairs),
    )
    return row if losses is None else _with_losses(row, losses, plain_idle)


def _with_losses(row: Row, losses: Losses, plain_idle: float | None) -> Row:
    shares = {
        "copies": losses.copies / losses.calls,
        "stand_ins": losses.stand_ins / losses.calls,
        "deciding": losses.deciding / losses.calls,
    }
    return replace(row, **shares, idle=losses.idle, plain_idle=plain_idle)

"""What was expected of trained routers, and what a family's numbers say to it: met or not, one line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..cells import UNCACHED
from ..tables import FAMILIES, Record, in_percent
from ..trained import REVERSED, UNADJUSTED
from .contenders import CORRECTED, PROBED, TITLES, router_name

SPEED = 1.5
MARGIN = 1.0
"""Percent of the uncached run's Frechet distance that a router at 22 % may lie above it."""

Finding = tuple[bool | None, str]
"""Whether an expectation is met, None where nothing was measured, and the numbers."""


def found(study: Record) -> list[str]:
    """Return one line for every expectation."""
    name = FAMILIES[study["model"]]
    lines = []
    for number, (_, judge) in enumerate(EXPECTATIONS, 1):
        is_met, text = judge(study)
        unknown = "not all measured" if text else "not measured"
        word = unknown if is_met is None else "met" if is_met else "not met"
        lines.append(f"{name}, {number}: **{word}**{f': {text}' if text else ''}.")
    return lines


def _learning_to_cache(study: Record) -> Finding:
    return _no_worse(study, router_name("learning_to_cache", 22), MARGIN)


def _fast_harmonica(study: Record) -> Finding:
    rows = [row for row in study["rows"] if row["group"] == "harmonica" and row["time"] is not None]
    if not rows:
        return None, ""
    fast = [row for row in rows if row["time"] <= 1 / SPEED]
    if not fast:
        most = max(1 / row["time"] for row in rows)
        return False, f"the fastest of {len(rows)} routers is {most:.2f} times as fast"
    wins, texts = [], []
    for row in fast:
        is_met, text = _no_worse(study, row["name"], 0.0)
        wins.append(is_met)
        texts += [f"{1 / row['time']:.2f} times as fast, {text}"] if text else []
    return (True if True in wins else None if None in wins else False), "; ".join(texts)


def _harmonica_at_equal_ratio(study: Record) -> Finding:
    return _nearer(study, [(router_name("harmonica", 40), router_name("learning_to_cache", 40))])


def _corrections(study: Record) -> Finding:
    bare = router_name(*CORRECTED)
    return _nearer(study, [(f"{bare}_{one}_optimized", bare) for one in ("error", "gradient")])


def _scale_shift(study: Record) -> Finding:
    return _nearer(study, [("block_caching_scale_shift", f"block_caching_{UNADJUSTED}")])


def _randoms(study: Record) -> Finding:
    wins: list[bool | None] = [None] * (len(PROBED) - len(study["randoms"]))
    texts = []
    for one in study["randoms"]:
        above = (one["trained"] - one["mean"]) / one["deviation"] if one["deviation"] else float("inf")
        wins.append(one["num_beaten"] == len(one["scores"]))
        texts.append(
            f"{one['label']} beats {one['num_beaten']} of {len(one['scores'])}, {above:+.1f} standard deviations from their mean"
        )
    return _all(wins), "; ".join(texts)


def _reversed(study: Record) -> Finding:
    wins, texts = [], []
    for method, reused in PROBED:
        pair = _pair(study, router_name(method, reused), f"{method}_{reused}_{REVERSED}", "gain")
        wins.append(pair and pair["gain"]["low"] > 0)
        texts += [f"{TITLES[method]} at {reused} % {spell_gain(pair['gain'])}"] if pair else []
    return _all(wins), "; ".join(texts)


EXPECTATIONS: Sequence[tuple[str, Callable[[Record], Finding]]] = (
    (
        (
            "Learning-to-Cache at 22 % reuse is no worse than the uncached run: the paired interval of the difference of their "
            "Frechet distances to the data includes or lies below +1 % of the uncached run's."
        ),
        _learning_to_cache,
    ),
    (
        (
            "A HarmoniCa router of 1.5 times the speed or more is no worse than the uncached run on PixArt: the interval includes "
            "or lies below 0. The paper's claim is for PixArt; the other families are judged by the same rule."
        ),
        _fast_harmonica,
    ),
    (
        "At 40 % reuse HarmoniCa is nearer to the data than Learning-to-Cache, beyond the interval.",
        _harmonica_at_equal_ratio,
    ),
    (
        (
            "EOC and GOC on top of Learning-to-Cache at 22 % bring it nearer to the data, each beyond the interval; EOC's paper "
            "has -2.5 % of FID."
        ),
        _corrections,
    ),
    (
        "Block Caching's trained scale and shift bring it nearer to the data than the same schedule without them, beyond the interval.",
        _scale_shift,
    ),
    (
        "A trained router beats random routers that reuse as much: all 20 of them, in mean PSNR over the same pictures.",
        _randoms,
    ),
    (
        "A trained router beats itself with its steps in reverse order, in PSNR, beyond the paired interval.",
        _reversed,
    ),
)
"""What was expected before anything was measured, from the papers, and who judges it."""


def _no_worse(study: Record, name: str, margin: float) -> Finding:
    """Whether the interval of a cell's difference to the uncached run includes or lies below a margin in percent."""
    distances = {one["name"]: one for one in study["distances"]}
    if name not in distances or UNCACHED not in distances:
        return None, ""
    value, low, high = in_percent(distances[name]["excess"], distances[UNCACHED]["to_data"])
    text = f"{distances[name]['label']} {value:+.1f} % ({low:+.1f} to {high:+.1f}) of the uncached run's distance"
    return low <= margin, text


def _nearer(study: Record, names: Sequence[tuple[str, str]]) -> Finding:
    """Whether every first of some cells is nearer to the data than the second, beyond the interval."""
    pairs = [_pair(study, own, against, "change") for own, against in names]
    wins = [pair and pair["change"]["high"] < 0 for pair in pairs]
    return _all(wins), "; ".join(_spell_change(pair) for pair in pairs if pair)


def _spell_change(pair: Record) -> str:
    value, low, high = in_percent(pair["change"], pair["other_distance"])
    gained = "" if pair["gain"] is None else f", PSNR {spell_gain(pair['gain'])}"
    return f"{pair['label']} {value:+.1f} % ({low:+.1f} to {high:+.1f}){gained}"


def _pair(study: Record, name: str, against: str, measure: str) -> Record | None:
    """The comparison of two cells, where it has that measure."""
    found = (one for one in study["pairs"] if (one["name"], one["against"]) == (name, against))
    return next((one for one in found if one[measure] is not None), None)


def _all(wins: Sequence[bool | None]) -> bool | None:
    """Whether all are met: one that is not decides, and else one that was not measured leaves it open."""
    if False in wins:
        return False
    return None if None in wins or not wins else True


def spell_gain(gain: Record) -> str:
    """Return a difference of PSNR with its bounds."""
    return f"{gain['value']:+.1f} dB ({gain['low']:+.1f} to {gain['high']:+.1f})"

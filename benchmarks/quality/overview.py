"""The families side by side: every cell against fewer steps of equal cost, and every correction against its bare cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .cells import FEWER_STEPS
from .tables import FAMILIES, Record, table

_AT_COST = """\
PSNR in dB beyond that of fewer steps of equal cost; bold where the whole interval is above zero, in brackets where it
includes zero, "-" where the cost lies beyond the measured numbers of steps."""

_ON_TOP = """\
What a correction adds to the cache below it: mean PSNR in dB and, where it was drawn, the change of the Frechet distance to the data: less
is better, bold where its whole interval is below zero, in brackets where it includes zero."""


def overview(studies: Sequence[Record]) -> list[str]:
    """Return both tables of some families, each with its explanation; none where there is nothing to compare."""
    head = ("", *(FAMILIES[study["model"]] for study in studies))
    parts = []
    for text, told in ((_AT_COST, _at_cost), (_ON_TOP, _on_top)):
        lines = _lines(studies, told)
        parts += [text, table(head, lines)] if lines else []
    return parts


def _lines(studies: Sequence[Record], told: Callable[[Record], dict[str, str]]) -> list[list[str]]:
    """A line per label that any family has, in the order of the first that has it."""
    columns = [told(study) for study in studies]
    labels = dict.fromkeys(label for column in columns for label in column)
    return [[label, *(column.get(label, "") for column in columns)] for label in labels]


def _at_cost(study: Record) -> dict[str, str]:
    rows = [row for row in study["rows"] if row["group"] != FEWER_STEPS]
    return {row["label"]: _marked(row["at_cost"] and row["at_cost"]["gain"], 1.0, "") for row in rows}


def _on_top(study: Record) -> dict[str, str]:
    rows = {row["name"]: row for row in study["rows"]}
    distances = {one["name"]: one for one in study["distances"]}
    found = {}
    for cell in study["corrections"]:
        own, bare = rows.get(cell["name"]), rows.get(cell["against"])
        if own and bare:
            found[own["label"]] = _gained(own, bare) + _changed(distances.get(cell["name"]))
    return found


def _gained(own: Record, bare: Record) -> str:
    values = [row["measures"]["psnr"] and row["measures"]["psnr"]["value"] for row in (own, bare)]
    return "identical" if None in values else f"{values[0] - values[1]:+.1f} dB"


def _changed(distance: Record | None) -> str:
    if distance is None or distance["change_to_data"] is None:
        return ""
    change, bare = distance["change_to_data"], distance["bare"][0]
    return f", {_marked(change, 100 / bare, ' %', less_is_better=True)}"


def _marked(interval: Record | None, scale: float, unit: str, *, less_is_better: bool = False) -> str:
    if interval is None:
        return "-"
    text = f"{scale * interval['value']:+.1f}{unit}"
    if interval["low"] <= 0 <= interval["high"]:
        return f"({text})"
    return f"**{text}**" if (interval["value"] < 0) == less_is_better else text

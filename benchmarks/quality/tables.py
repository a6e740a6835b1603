"""The benchmark's records as Markdown tables; needs nothing but the JSON files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
"""What `docs/results/<benchmark>_<family>.json` holds, or a part of it."""

FAMILIES = {"flux": "Flux", "sd3": "SD3", "pixart": "PixArt"}
_HEAD = (
    "",
    "refresh",
    "cost",
    "time",
    "PSNR dB",
    "SSIM",
    "perceptual",
    "latent error",
    "against fewer steps of equal cost, dB",
    "of equal time, dB",
)
_SHORT = (
    "",
    "refresh",
    "cost",
    "time",
    "PSNR dB",
    "against fewer steps of equal cost, dB",
    "of equal time, dB",
)


def read_studies(folder: Path, benchmark: str = "methods") -> list[Record]:
    """The records of all families that a benchmark has measured, in the project's order."""
    paths = [folder / f"{benchmark}_{family}.json" for family in FAMILIES]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def assembled(
    beginning: Sequence[str],
    studies: Sequence[Record],
    found: Callable[[Record], Sequence[str]],
    section: Callable[[Record], Sequence[str]],
    sides: Sequence[str] = (),
) -> str:
    """A page: its beginning, what was found in every study as one list each, them side by side, and their sections."""
    parts = [*beginning, *("\n".join(f"* {line}" for line in found(study)) for study in studies), *sides]
    for study in studies:
        parts += section(study)
    return "\n\n".join(parts) + "\n"


def full_table(rows: Sequence[Record]) -> str:
    """All rows with all measures."""
    return table(_HEAD, [_full(row) for row in rows])


def short_table(rows: Sequence[Record]) -> str:
    """All rows, of the measures only PSNR."""
    return table(_SHORT, [_short(row) for row in rows])


def own_rows(study: Record, group: str) -> list[Record]:
    """A method's rows of one family, with the bare rows of a correction."""
    own = [row for row in study["rows"] if row["group"] == group]
    bare = {cell["against"] for cell in study["corrections"] if cell["group"] == group}
    return [row for row in study["rows"] if row in own or row["name"] in bare]


def neighbours(study: Record, rows: Sequence[Record]) -> list[Record]:
    """The rows of fewer steps whose cost is nearest to that of each of `rows`; each once."""
    fewer = [row for row in study["rows"] if row["group"] == "fewer_steps"]
    nearest = (
        [min(fewer, key=lambda one: abs(one["cost"] - row["cost"]))["name"] for row in rows] if fewer else []
    )
    return [row for row in fewer if row["name"] in nearest]


def method_block(studies: Sequence[Record], group: str) -> str:
    """What was measured of a method, family by family, beside fewer steps; "" where nothing was."""
    parts = []
    for study in studies:
        rows = own_rows(study, group)
        if rows:
            name = FAMILIES[study["model"]]
            parts += [f"### {name}", short_table([*rows, *neighbours(study, rows)])]
    return "\n\n".join(parts)


def correction_table(study: Record) -> str:
    """EOC and GOC on FORA: closeness and Frechet distances against the bare cache, beside the papers' changes of FID."""
    head = (
        "",
        "PSNR dB",
        "Frechet to the data",
        "change",
        "Frechet to the uncached pictures",
        "change",
        "the paper's change of FID",
    )
    by_name = {row["name"]: row for row in study["rows"]}
    lines = []
    for one in study["distances"]:
        row, is_corrected = by_name.get(one["name"]), one["bare"] is not None
        data, plain = one["bare"] or (None, None)
        lines.append(
            (
                one["label"],
                spell(row["measures"].get("psnr"), 1) if row else "-",
                f"{one['to_data']:.4f}",
                spell_percent(one["change_to_data"], data) if is_corrected else "",
                f"{one['to_uncached']:.5f}",
                spell_percent(one["change_to_uncached"], plain) if is_corrected else "",
                _published(one["name"]),
            )
        )
    return table(head, lines)


PUBLISHED = {
    "fora_25_percent_error_optimized": "-4.6 %",
    "fora_50_percent_error_optimized": "-15.1 %",
    "fora_75_percent_error_optimized": "-28.8 %",
    "fora_25_percent_gradient_optimized": "-8.9 %",
    "fora_50_percent_gradient_optimized": "-43.0 %",
}
"""Of DiT-XL/2 on ImageNet 256, 20 DDIM steps: arXiv:2501.19243 and arXiv:2503.05156; from FID 3.870, 6.857 and 30.454."""


def _published(name: str) -> str:
    return PUBLISHED.get(name, "")


def match_table(study: Record) -> str:
    """Fitted polynomials and filtered indicators against identity at the same refresh ratio."""
    head = ("", "threshold", "refresh", "PSNR dB", "against identity at the same refresh ratio, dB")
    by_name = {row["name"]: row for row in study["rows"]}
    lines = []
    for one in study["matches"]:
        row, found = by_name[one["name"]], one["rival"]
        lines.append(
            (
                row["label"],
                f"{study['numbers'][one['number']]:.4g}",
                f"{row['refresh']:.3f}",
                spell(row["measures"].get("psnr"), 1),
                "" if "identity" in one["name"] else gain(found, 0),
            )
        )
    return table(head, lines)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    return "\n".join(map(_line, [head, ["---", *["--:"] * (len(head) - 1)], *lines]))


def spell(interval: Record | None, digits: int) -> str:
    """A mean with its bounds."""
    if interval is None:
        return "identical"
    value, low, high = (f"{interval[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def gain(rival: Record | None, digits: int = 1) -> str:
    """A difference with its bounds, and after how many steps it was met; bold where it lies beyond zero."""
    if rival is None:
        return "-"
    found = rival["gain"]
    text = f"{found['value']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"
    text = f"**{text}**" if found["low"] > 0 else text
    return f"{text}, {rival['steps']:.{digits}f} steps" if digits else text


def _full(row: Record) -> tuple[str, ...]:
    short, found = _short(row), row["measures"]
    more = (
        spell(found.get("ssim"), 3),
        spell(found.get("perceptual"), 4),
        spell(found.get("latent_error"), 3),
    )
    return (*short[:5], *more, *short[5:])


def _short(row: Record) -> tuple[str, ...]:
    time = "-" if row["time"] is None else f"{row['time']:.2f}"
    ratios = (f"{row['refresh']:.3f}", f"{row['cost']:.3f}", time)
    is_fewer = row["group"] == "fewer_steps"
    gains = ("", "") if is_fewer else (gain(row["at_cost"]), gain(row["at_time"]))
    return (row["label"], *ratios, spell(row["measures"].get("psnr"), 1), *gains)


def in_percent(difference: Record, whole: float) -> tuple[float, float, float]:
    """Return an interval as percent of a number: value, low and high."""
    value, low, high = (100 * difference[part] / whole for part in ("value", "low", "high"))
    return value, low, high


def spell_percent(difference: Record, whole: float) -> str:
    """A difference as percent of a number, with its bounds."""
    value, low, high = in_percent(difference, whole)
    return f"{value:+.1f} % ({low:+.1f} to {high:+.1f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

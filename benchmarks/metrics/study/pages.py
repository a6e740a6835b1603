"""Writes a study: numbers as JSON, tables as Markdown, PSNR and perceptual distance over steps as a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..intervals import Interval
from .cells import STEPS
from .measure import MEASURES
from .results import Headline, Row, Verdict

_DIGITS = {"psnr": 2, "ssim": 4, "perceptual": 4, "latent_error": 4}
_TITLES = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "perceptual": "perceptual",
    "latent_error": "latent error",
}

_INTRODUCTION = (
    "# The zoo, measured\n\n"
    "How fast the pictures of the zoo's models change with the number of steps, and how good they are. Every "
    "number is a mean over seeds with its 95 % bootstrap interval. A cache is only worth its name where it does "
    "better than the row of as much work.\n"
)


@dataclass(frozen=True)
class Study:
    """All that was found about a model."""

    model: str
    note: str
    """How it was measured, as a paragraph."""
    rows: Sequence[Row]
    headline: Headline | None
    verdicts: Sequence[Verdict]


def write_study(study: Study, folder: Path) -> None:
    """Write `zoo_<model>.json` and `.png`, and `zoo.md` of all models measured so far.

    Args:
        study: What was found.
        folder: `docs/results`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"zoo_{study.model}.json", asdict(study))
    draw_curves(study, folder / f"zoo_{study.model}.png")
    models = [path.stem.removeprefix("zoo_") for path in sorted(folder.glob("zoo_*.json"))]
    pages = [read_study(folder / f"zoo_{model}.json") for model in models]
    (folder / "zoo.md").write_text(page(pages), encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write numbers so that a change of one shows as a change of one line."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_study(path: Path) -> Study:
    """Read what `write_study` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    top = content["headline"]
    return Study(
        model=content["model"],
        note=content["note"],
        rows=[_read_row(row) for row in content["rows"]],
        headline=None if top is None else _read_headline(top),
        verdicts=[Verdict(**verdict) for verdict in content["verdicts"]],
    )


def page(studies: Sequence[Study]) -> str:
    """The Markdown page of all studies."""
    parts = [_INTRODUCTION]
    for study in studies:
        parts.append(
            f"## {study.model}\n\n![PSNR and perceptual distance over steps](zoo_{study.model}.png)\n"
        )
        parts += [
            verdict_table(study.verdicts),
            headline_table(study.headline),
            grid_table(study.rows),
            study.note,
        ]
    return "\n".join(part for part in parts if part) + "\n"


def card_block(study: Study) -> str:
    """The short form for the model card: verdicts, and the Euler rows against 20 steps."""
    rows = [row for row in study.rows if row.sampler == "euler" and row.against == "euler 20"]
    link = "All samplers are in [docs/results/zoo.md](../../../docs/results/zoo.md)."
    parts = [
        verdict_table(study.verdicts),
        headline_table(study.headline),
        grid_table(rows),
        study.note,
        link,
    ]
    return "\n".join(part for part in parts if part) + "\n"


def grid_table(rows: Sequence[Row]) -> str:
    """Rows of a grid as a Markdown table, ending in a newline."""
    titles = ["sampler", "steps", "cfg", "against", *(_TITLES[name] for name in MEASURES), "caption accuracy"]
    lines = [_line(titles), "|---" * len(titles) + "|"]
    for row in rows:
        label = [row.sampler, str(row.steps), f"{row.cfg:g}", row.against or "-"]
        cells = [spell(row.measures.get(name), _DIGITS[name]) for name in MEASURES]
        lines.append(_line([*label, *cells, spell(row.accuracy, 3)]))
    return "\n".join(lines) + "\n"


def headline_table(top: Headline | None) -> str:
    """The headline cells as a Markdown table; nothing where they were not measured."""
    if top is None:
        return ""
    lines = [_line([f"{top.num_samples} samples", "caption accuracy", "Frechet distance"]), "|---|---|---|"]
    for label in ("data", "20 steps", "10 steps"):
        distance = f"{top.frechet[label]:.4f}" if label in top.frechet else "-"
        lines.append(_line([label, spell(top.accuracy[label], 4), distance]))
    change = [spell(top.accuracy["10 - 20 steps"], 4), spell(top.frechet_difference, 4)]
    lines += [_line(["10 - 20 steps, paired", *change]), "", kinds_table(top.kinds)]
    return "\n".join(lines)


def kinds_table(kinds: dict[str, dict[str, float]]) -> str:
    """Caption accuracy of each kind of attribute as a Markdown table, ending in a newline."""
    names = list(kinds["data"])
    lines = [_line(["found", *names]), "|---" * (len(names) + 1) + "|"]
    lines += [_line([label, *(f"{values[name]:.2f}" for name in names)]) for label, values in kinds.items()]
    return "\n".join(lines) + "\n"


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Requirements as a Markdown table, ending in a newline."""
    lines = ["| requirement | found | |", "|---|---|---|"]
    lines += [_line([one.claim, one.found, "pass" if one.holds else "FAIL"]) for one in verdicts]
    return "\n".join(lines) + "\n"


def spell(interval: Interval | None, digits: int) -> str:
    """An estimate with its bounds; a dash for what was not measured."""
    if interval is None:
        return "-"
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def draw_curves(study: Study, path: Path) -> None:
    """PSNR and perceptual distance to each sampler's finest run over the steps, with their intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6))
    for axes, name in zip(figure.subplots(1, 2), ("psnr", "perceptual"), strict=True):
        for sampler in dict.fromkeys(row.sampler for row in study.rows):
            finest_name = f"{sampler} {STEPS[-1]}"
            _draw_curve(axes, sampler, name, [row for row in study.rows if row.against == finest_name])
        ticks = sorted({row.steps for row in study.rows})
        axes.set(xlabel="steps", ylabel=_TITLES[name], xscale="log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    figure.axes[1].set_yscale("log")
    figure.suptitle(f"{study.model}, cfg 4, against {STEPS[-1]} steps of the same sampler", fontsize=11)
    figure.tight_layout()
    # No software version in the file, so that equal numbers give an equal file.
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _draw_curve(axes: Any, sampler: str, name: str, rows: Sequence[Row]) -> None:
    own = [row for row in rows if row.sampler == sampler]
    steps = [row.steps for row in own]
    axes.plot(steps, [row.measures[name].value for row in own], marker="o", markersize=4, label=sampler)
    low, high = ([getattr(row.measures[name], bound) for row in own] for bound in ("low", "high"))
    axes.fill_between(steps, low, high, alpha=0.2)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _read_row(content: dict[str, Any]) -> Row:
    measures = {name: Interval(**value) for name, value in content["measures"].items()}
    return Row(**{**content, "measures": measures, "accuracy": Interval(**content["accuracy"])})


def _read_headline(content: dict[str, Any]) -> Headline:
    accuracy = {name: Interval(**value) for name, value in content["accuracy"].items()}
    difference = Interval(**content["frechet_difference"])
    return Headline(**{**content, "accuracy": accuracy, "frechet_difference": difference})

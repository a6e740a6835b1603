"""Writes the summary, a page of tables for every family, and the plots, from the two CSV files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from ..tables import FAMILIES
from .names import SPEEDUPS
from .plots import draw_grid, draw_headline, is_headline
from .sheets import DISTANCES, DUELS, ROWS, Line, read_lines, setting_of
from .tables import (
    NAMES,
    count_table,
    frechet_table,
    full_table,
    goal_table,
    headline_table,
    readme_table,
    winner_table,
)
from .verdicts import verdicts

PAGE = "quality.md"
_INTRODUCTION = """\
# Quality at measured time

Is a cache worth it? At equal time, is its picture nearer to the uncached one than that of fewer steps, of ComfyUI's own caches,
of other packs, and of the published methods? `python dev.py bench quality` measures it on the zoo's models; this page and the
plots are made from [quality.csv](quality.csv) and [quality_duels.csv](quality_duels.csv).

*Ours* is `Step List` at its defaults with speedup 1.5, 2 and 3. A rival is read at the time that ours takes, between the two
of its own settings that lie around it, seed by seed; one that cannot be as fast is left out. Differences are paired by
seed, with 95 % bootstrap intervals; *above* and *below* mean beyond the interval, bold is above. Combinations with this
project's own `Forecast` are in the tables and plots, and not among the rivals."""
_RIVALS = """\
* *Fewer steps*: the same sampler, on the scheduler's own spacing.
* *Searched noise levels*: the same number of steps on the best few of the full run's noise levels, found on other captions
  and seeds (dynamic programming over single steps, then moves of one level, kept where the latents of real runs come nearer).
* *EasyCache* as it is shipped, and with its error in float32 mended (it changes the sampler's own state; a wrapper of the
  benchmark gives it a copy). *LazyCache*, which is all that ComfyUI has for SD3 and PixArt.
* *cache-dit's DBCache*, where its packages are named with `--cache-dit PATH`: on diffusers' networks with the same weights, behind
  ComfyUI's own sampler and guidance. The networks agree to rounding, or it is left out; its pictures and its time are held
  against the uncached run of diffusers. 1 block always runs (F1B0), or as many as 8 are of a full-size model, with and
  without its TaylorSeer; the first 4 calls are computed, as in its published measurements.
* *Rule of X, our implementation*: the rule of a pack that does not load on the ComfyUI at hand, or does not run these families
  there, in this project's engine. A pack that does run takes part with its own code: `--pack PATH`.
* Thresholds are tuned to shares of the work on other captions and seeds; MagCache's ratios, Block Caching's profile, EOC's prior
  and TeaCache's polynomial are measured on others as well. Routers are not here, as they have to be trained."""
_COST = """\
The zoo's networks are so small that a picture takes about a second. What sampler, guidance and a cache's own work take beside the
network weighs more there than in a large model, whose times are nearer to the costs: so the same at equal *cost*."""
_GOALS = """\
Aimed at before measuring, at equal cost on these small models:"""
_DATA = """\
The distance is to the scenes that the captions describe, in 64 features of the zoo's classifier; differences are paired by seed."""
_MEASURED = """\
PSNR is of decoded floats in [0, 1] against the uncached run of the same seed; the perceptual distance is in the features of the
zoo's classifier; latent error is relative. Each seed draws its own held-out caption. Time is of one picture on one thread,
over the mean of the uncached runs before and after (of the same network); *cost* weighs each site by its measured time, for others' code it is
the share of blocks that ran. Methods that look at the picture draw every picture alone. Under Euler ancestral every picture has
its own stream of added noise: caches keep it, fewer steps draw less of it, and so make another picture."""


def write_pages(folder: Path, errors: Mapping[str, str]) -> None:
    """Write all pages and plots of what the CSV files in `folder` hold.

    Args:
        folder: `docs/results`.
        errors: By place why a pack of others could not take part.
    """
    rows, duels = read_lines(folder / ROWS), read_lines(folder / DUELS)
    distances = read_lines(folder / DISTANCES)
    families = _families(rows)
    (folder / PAGE).write_text(summary(rows, duels, distances, errors), encoding="utf-8", newline="\n")
    for family in families:
        own = _of(rows, family)
        text = family_page(family, own)
        (folder / f"quality_{family}.md").write_text(text, encoding="utf-8", newline="\n")
        if any(map(is_headline, own)):
            draw_headline(family, own, folder / f"quality_{family}.png")
        for cfg in dict.fromkeys(line["cfg"] for line in own):
            chosen = [line for line in own if line["cfg"] == cfg]
            draw_grid(family, chosen, folder / _grid_name(family, cfg))


def summary(
    rows: Sequence[Line], duels: Sequence[Line], distances: Sequence[Line], errors: Mapping[str, str]
) -> str:
    """The page that says who wins where."""
    families, found, by_cost = _families(rows), verdicts(duels), verdicts(duels, "cost")
    parts = [_INTRODUCTION, "## 20 Euler steps", headline_table(found)]
    drawn = [family for family in families if any(is_headline(line) for line in _of(rows, family))]
    parts += [f"![{FAMILIES[family]}: PSNR over time and cost](quality_{family}.png)" for family in drawn]
    parts += [frechet_table(distances), _DATA] if distances else []
    parts += ["## 20 Euler steps at equal cost", _COST, headline_table(by_cost, "cost")]
    parts += ["## Everywhere", "In how many settings ours is above or below:", count_table(found)]
    for speedup in SPEEDUPS:
        parts += [f"### {speedup:g} times: ours against the best of all rivals", winner_table(found, speedup)]
    parts += ["## What was aimed at", _GOALS, goal_table(by_cost), "At equal time:", goal_table(found)]
    parts += ["## The rivals", _RIVALS]
    if errors:
        listed = "\n".join(f"* {place}: `{text}`" for place, text in errors.items())
        parts += ["Packs that could not take part:", listed]
    parts += ["## How it was measured", _MEASURED, _made(rows)]
    links = [f"[{FAMILIES[family]}](quality_{family}.md)" for family in families]
    return "\n\n".join([*parts, f"All rows: {', '.join(links)}."]) + "\n"


def family_page(family: str, rows: Sequence[Line]) -> str:
    """All rows of a family, setting by setting."""
    parts = [
        f"# Quality at measured time: {FAMILIES[family]}",
        "See the [summary](quality.md) for what is what.",
    ]
    for cfg in sorted({line["cfg"] for line in rows}, key=float):
        parts.append(f"![PSNR over time, cfg {float(cfg):g}]({_grid_name(family, cfg)})")
    for setting, lines in groupby(rows, key=setting_of):
        _, sampler, steps, cfg = setting
        parts += [f"## {NAMES[sampler]}, {steps} steps, cfg {float(cfg):g}", full_table(list(lines))]
    return "\n\n".join(parts) + "\n"


def readme_block(folder: Path) -> str:
    """The README's table and what it says; a hint while nothing was measured."""
    found = verdicts(read_lines(folder / DUELS))
    if not found:
        return "Nothing yet: `python dev.py bench quality` measures it."
    return (
        f"{readme_table(found)}\n\nPSNR against the uncached picture at the time that Step List takes at speedup 2; in brackets by "
        "how much Step List is nearer, bold beyond the 95 %\ninterval. From [docs/results/quality.csv](docs/results/quality.csv), "
        "written by `python dev.py bench quality`; [who wins where](docs/results/quality.md)."
    )


def _families(rows: Sequence[Line]) -> list[str]:
    return [family for family in FAMILIES if _of(rows, family)]


def _of(rows: Sequence[Line], family: str) -> list[Line]:
    return [line for line in rows if line["family"] == family]


def _made(rows: Sequence[Line]) -> str:
    """On what, and on how many seeds, the rows were measured."""
    made = dict.fromkeys(f"{line['num_seeds']} seeds, {line['made']}" for line in rows)
    return f"Measured: {'; '.join(made)}. Two seeds or more; the first is 20000, tuning uses earlier ones."


def _grid_name(family: str, cfg: str) -> str:
    return f"quality_{family}_cfg{float(cfg):g}.png"

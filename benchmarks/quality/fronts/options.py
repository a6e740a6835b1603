"""The command line of `python dev.py bench quality`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..engine import ROOT
from ..timing import CLOCKS
from .names import CFGS, FAMILIES, SAMPLERS
from .settings import SIZES, Size

RESULTS = ROOT / "docs" / "results"
WORK = Path.home() / ".cache" / "feature_cache_zoo" / "quality"
_CHANGED = ("families", "samplers", "steps", "cfgs", "seeds", "pairs", "runs", "samples")
LEAST_SAMPLES = 4 * 64
"""Four pictures per feature of a Frechet distance."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure.

    Attributes:
        size: How much is measured.
        only: Names of fronts that take part beside fewer steps and the default; empty for all.
        cache_dit: Folder with its packages, or None.
        results: Where to write; None writes nothing but the records.
    """

    size: Size
    only: tuple[str, ...]
    packs: tuple[Path, ...]
    cache_dit: Path | None
    clock: str
    workers: int
    collect: bool
    work: Path
    results: Path | None


def read_options(arguments: Sequence[str] | None) -> Options:
    """Return what the command line says.

    Raises:
        SystemExit: If a number is out of its bounds; the text says which.
    """
    given = _parser().parse_args(arguments)
    results = None if given.only else given.results
    return Options(
        size=_size(given),
        only=tuple(given.only),
        packs=tuple(path.resolve() for path in given.pack),
        cache_dit=given.cache_dit and given.cache_dit.resolve(),
        clock=given.clock,
        workers=given.workers,
        collect=given.collect,
        work=given.work,
        results=results,
    )


def _size(given: argparse.Namespace) -> Size:
    """A size with what the command line changes."""
    said = {name: value for name, value in vars(given).items() if name in _CHANGED and value is not None}
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in said.items()
    }
    size = replace(SIZES[given.size], **chosen)
    if (
        min(size.seeds - 1, size.runs, min(size.steps) - 3) < 1
        or size.pairs < 0
        or not (size.samples == 0 or size.samples >= LEAST_SAMPLES)
    ):
        raise SystemExit(
            f"bench quality: got {size.seeds} seeds, {size.pairs} pairs, {size.runs} runs, {size.samples} samples and "
            f"{list(size.steps)} steps; expected 2 or more seeds, no negative pairs, 1 or more runs, 0 or at least "
            f"{LEAST_SAMPLES} samples, and 4 or more steps; change them"
        )
    return size


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench quality", description="Quality at measured time, of every method and its rivals."
    )
    parser.add_argument(
        "--size",
        choices=tuple(SIZES),
        default="five-minutes",
        help="default: %(default)s; what follows changes one part of it",
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS)
    parser.add_argument("--steps", nargs="+", type=int, metavar="N")
    parser.add_argument("--cfgs", nargs="+", type=float, metavar="CFG", help=f"overnight: {CFGS}")
    parser.add_argument("--seeds", type=int, help="pictures per way to sample")
    parser.add_argument("--pairs", type=int, help="pictures on which everything is timed")
    parser.add_argument("--runs", type=int, help="most sampling runs of each search for noise levels")
    parser.add_argument("--samples", type=int, help="pictures for each Frechet distance; 0 leaves them out")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="FRONT", help="only these; nothing is written"
    )
    parser.add_argument(
        "--pack",
        nargs="+",
        type=Path,
        default=(),
        metavar="PATH",
        help="folders of caching packs of others, as in custom_nodes; their code is run",
    )
    parser.add_argument(
        "--cache-dit",
        type=Path,
        metavar="PATH",
        help="folder with cache-dit and diffusers, installed there by pip",
    )
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="thread", help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=max(1, min(8, os.cpu_count() or 1)), help="processes")
    parser.add_argument(
        "--collect", action="store_true", help="draw nothing: write what was measured until now"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="folder for the records")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the pages")
    return parser

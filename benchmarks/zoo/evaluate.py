"""Measures the zoo: `python -m zoo.evaluate {flux,sd3,pixart,autoencoder,autoencoder_4ch,classifier}`.

A diffusion model is drawn through the host's own loaders and samplers over steps and samplers, judged by
`metrics`, and written to `docs/results` and into its card. The autoencoders and the classifier are measured on
held-out pictures. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from metrics.classifier import CHECKPOINT as CLASSIFIER
from metrics.crew import do_all
from metrics.study import crew
from metrics.study.cells import SAMPLERS, STEPS, Cell, grid
from metrics.study.jobs import GRID_BATCH, HEADLINE_BATCH, open_jobs
from metrics.study.pages import Study, card_block, verdict_table, write_study
from metrics.study.results import grid_rows, guidance_gain, headline, judge
from metrics.study.store import batches, fingerprint
from metrics.study.tables import AUTOENCODERS, autoencoder_table, classifier_table

from .sampling import MODELS, RECIPES

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_QUICK_STEPS = (4, 10, 20, 50)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    what: str
    seeds: int
    samples: int
    steps: tuple[int, ...]
    samplers: tuple[str, ...]
    precision: str
    workers: int
    work: Path
    results: Path | None
    """Where to write; None writes nothing but the records."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the grid."""
        return grid(self.steps, self.samplers)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    options = _options(arguments)
    if options.what in MODELS:
        _evaluate_model(options)
    elif options.what == "classifier":
        _finish(options, classifier_table(4 * options.seeds), CLASSIFIER.with_suffix(".md"))
    else:
        card = AUTOENCODERS[options.what].checkpoint.with_suffix(".md")
        _finish(options, autoencoder_table(options.what, options.seeds), card)


def _options(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="zoo.evaluate", description="Measure a model of the zoo.")
    parser.add_argument("what", choices=(*MODELS, *AUTOENCODERS, "classifier"), nargs="?", default="flux")
    parser.add_argument(
        "--seeds", type=int, default=32, help="seeds of the grid, each with a held-out caption"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=2000,
        help="seeds of the headline cells; 0 leaves them out, else 256 or more",
    )
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, choices=STEPS, help="only these")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, choices=SAMPLERS, help="only these")
    parser.add_argument(
        "--precision", choices=("bfloat16", "float32"), default="bfloat16", help="of the headline cells"
    )
    parser.add_argument("--quick", action="store_true", help="4 seeds, 4 step counts, Euler, nothing written")
    parser.add_argument("--workers", type=int, default=max(1, min(8, os.cpu_count() or 1)), help="processes")
    parser.add_argument(
        "--work", type=Path, default=Path.home() / ".cache" / "feature_cache_zoo" / "evaluate"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the tables")
    given = vars(parser.parse_args(arguments))
    if given.pop("quick"):
        given |= {"seeds": 4, "samples": 0, "steps": _QUICK_STEPS, "samplers": ("euler",), "results": None}
    # The finest run is what the others are compared with.
    given |= {"steps": tuple(sorted({*given["steps"], STEPS[-1]})), "samplers": tuple(given["samplers"])}
    _check(given["seeds"], given["samples"])
    return Options(**given)


def _check(num_seeds: int, num_samples: int) -> None:
    least = 4 * 64
    if num_seeds < 2 or 0 < num_samples < least or num_samples < 0:
        raise SystemExit(
            f"zoo evaluate: got --seeds {num_seeds} and --samples {num_samples}; expected 2 or more seeds, and 0 or at "
            f"least {least} samples, four per feature of the Frechet distance; change them"
        )


def _evaluate_model(options: Options) -> None:
    folder = records_folder(options.work, options.what, options.precision)
    order = crew.Order(options.what, folder, options.precision == "bfloat16")
    jobs = open_jobs(folder, options.cells, options.seeds, options.samples)
    if jobs:
        pace = crew.measure_pace(crew.load_bench(options.what, folder), order.uses_bfloat16)
        minutes = pace.seconds(jobs) / options.workers / 60.0
        print(
            f"{options.what}: {len(jobs)} batches to draw, estimated {minutes:.1f} min in {options.workers} processes"
        )
        do_all(order, jobs, pace, options.workers)
    study = _gather(options, folder)
    print(verdict_table(study.verdicts))
    if options.results is None:
        print(card_block(study))
        return
    write_study(study, options.results)
    if options.results == RESULTS:
        write_block(RECIPES[options.what].checkpoint.with_suffix(".md"), card_block(study))


def records_folder(work: Path, model: str, precision: str) -> Path:
    """Where the records of a model are kept, with headline cells in `precision`: another one for other checkpoints."""
    recipe = RECIPES[model]
    files = (recipe.checkpoint, recipe.autoencoder.checkpoint, CLASSIFIER)
    return work / f"{model}_{fingerprint(files, [torch.__version__, precision, crew.device_kind()])}"


def _gather(options: Options, folder: Path) -> Study:
    seeds = batches(options.seeds, GRID_BATCH)
    rows = grid_rows(folder, options.cells, seeds)
    top = headline(folder, batches(options.samples, HEADLINE_BATCH)) if options.samples else None
    verdicts = judge(rows, top, guidance_gain(folder, seeds))
    return Study(options.what, _note(options), rows, top, verdicts)


def _note(options: Options) -> str:
    size = RECIPES[options.what].size
    note = (
        f"Seed i draws held-out caption i of generator seed 0; seeds 0 to {options.seeds - 1}; {size} by {size} px; simple "
        f"schedule; float32 on {crew.device_kind()}; decoded floats in [0, 1]. Perceptual distance and caption accuracy by the zoo's "
        "classifier. Bounds: 95 %, bootstrap over the seeds."
    )
    if options.samples:
        note += (
            f" Headline table: cfg 4, Euler, seeds 0 to {options.samples - 1}, all its cells in {options.precision}; "
            "Frechet distance to the scenes that the captions describe, in 64 features whose variances sum to 1."
        )
    return f"{note} torch {torch.__version__}, {platform.machine()}. Written by `python dev.py zoo evaluate {options.what}`.\n"


def _finish(options: Options, table: str, card: Path) -> None:
    print(table)
    if options.results == RESULTS:
        write_block(card, table)


def write_block(path: Path, text: str) -> None:
    """Replace what stands between the markers of a Markdown file.

    Args:
        path: The file.
        text: The new content.

    Raises:
        ValueError: If the file lacks the markers.
    """
    content = path.read_text(encoding="utf-8")
    if BEGIN not in content or END not in content:
        raise ValueError(
            f'"{path.name}" lacks the lines "{BEGIN}" and "{END}"; put them where the table belongs'
        )
    head, tail = content.split(BEGIN)[0], content.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n{text}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()

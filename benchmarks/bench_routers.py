"""Trained routers on the zoo against what needs no training, and fewer steps: `python dev.py bench routers`.

20 Euler steps at cfg 4. Draws, measures, times, and writes `docs/results/routers.md` with a JSON file and a plot per
family, after every family. An interrupted run goes on where it stopped. A trained file that is not there yet is left out:
`python dev.py zoo routers` makes it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from quality.cells import Cell
from quality.command import Family, Options, note, options_parser, read_options, run
from quality.distances import distances
from quality.engine import load_engine
from quality.results import rows
from quality.routers.contenders import NUM_QUICK, NUM_RANDOM, lessons_of, router_cells
from quality.routers.findings import find_pairs, find_randoms
from quality.routers.pages import Study, table, write_study
from quality.trained import missing
from quality.work import Hand


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    parser = options_parser("routers", __doc__ or "")
    options = read_options(vars(parser.parse_args(arguments)), parser.prog)
    return run({model: _cells(model, options) for model in options.models}, options, _write)


def _cells(model: str, options: Options) -> tuple[Cell, ...]:
    names = [lesson.name for lesson in lessons_of(model)]
    absent = missing(load_engine().core, names)
    if absent:
        left_out = f"{model}: left out {', '.join(absent)}, not trained yet"
        print(f"{left_out}; `python dev.py zoo routers` makes them", flush=True)
    num_random = NUM_QUICK if options.quick else NUM_RANDOM
    return router_cells(model, set(names) - set(absent), num_random)


def _write(family: Family, options: Options, hand: Hand) -> None:
    measured = {cell.artefact for cell in family.cells}
    study = Study(
        model=family.model,
        note=note(family.model, options),
        missing=[lesson.name for lesson in lessons_of(family.model) if lesson.name not in measured],
        rows=rows(family.folder, family.cells, options.seeds, options.pairs, options.clock),
        distances=distances(family.folder, family.cells, options.samples),
        pairs=find_pairs(family.folder, family.cells, options.seeds, options.samples),
        randoms=find_randoms(family.folder, family.cells, options.seeds),
    )
    print(table(study))
    if options.results is not None:
        write_study(study, options.results)


if __name__ == "__main__":
    sys.exit(main())

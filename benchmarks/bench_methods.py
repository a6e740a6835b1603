"""Every method on the zoo against the uncached run and fewer steps: `python dev.py bench methods`.

20 Euler steps at cfg 4. Calibrates on pictures of its own, draws, measures, times, and writes `docs/results/methods.md`
with a JSON file and plots per family, after every family. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from quality.code import PROBES
from quality.command import Family, Options, note, options_parser, read_options, run
from quality.distances import distances
from quality.engine import load_engine
from quality.methods import cells, groups
from quality.pages import Study, table, write_study
from quality.results import matches, rows
from quality.work import KIT, Hand


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    parser = options_parser("methods", __doc__ or "")
    parser.add_argument(
        "--methods", nargs="+", default=(), metavar="METHOD", help="only these; nothing written"
    )
    given = vars(parser.parse_args(arguments))
    methods = tuple(given.pop("methods"))
    options = read_options(given | ({"results": None} if methods else {}), parser.prog)
    core = load_engine().core
    if methods:
        _require_methods(methods, groups(core))
    return run(dict.fromkeys(options.models, cells(methods, core)), options, _write)


def _require_methods(asked: Sequence[str], known: Sequence[str]) -> None:
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise SystemExit(
            f"bench methods: got --methods {' '.join(unknown)}; expected some of {' '.join(known)}; change them"
        )


def _write(family: Family, options: Options, hand: Hand) -> None:
    study = Study(
        model=family.model,
        note=note(family.model, options),
        rows=rows(family.folder, family.cells, options.seeds, options.pairs, options.clock),
        distances=distances(family.folder, family.cells, options.samples),
        matches=matches(family.folder, family.cells, options.seeds),
        cells=family.cells,
        numbers=dict(hand.kit.numbers),
        facts=_facts(hand),
    )
    print(table(study))
    if options.results is not None:
        write_study(study, options.results, family.folder / KIT)


def _facts(hand: Hand) -> dict[str, dict[str, float]]:
    """What calibration measured of its own artefacts."""
    made = hand.kit.artefacts
    return {name: dict(made[name].measured) for name in PROBES if name in made}


if __name__ == "__main__":
    sys.exit(main())

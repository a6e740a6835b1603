"""Short sums of the code that pictures and the kit depend on, so that records outlive edits of anything else.

What is for people is no part of a sum: comments, layout, docstrings and every text with a space in it, but for those that are
compared with something or are a setting's default.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from metrics.study.store import fingerprint

from . import trained
from .cells import DATA, DERIVED, FEWER_STEPS, PICTURES, UNCACHED, Cell
from .engine import ROOT

PROBES = {"profile": "change_profile", "prior": "prior", "coefficients": "teacache"}
"""Parts of the kit that a file of `cache_core/calibration` makes, and which."""
THRESHOLDS = {"identity": "teacache", "fitted": "teacache", "seacache": "seacache"}
"""Kinds of thresholds, and whose they are."""

_CORE = ROOT / "cache_core"
_BY_HAND = ROOT / "benchmarks" / "zoo" / "routers.py"
_FOLLOWED = ("ops", "forecasting.py", "overlay.py")
"""Where a method's maths lies beside its own file; the engine under it is held by its tests."""
_DIGITS = 8


def key_of(cell: Cell) -> str:
    """Return what a cell's records are named after: itself, and the sum of its code where it runs any."""
    return "_".join(filter(None, (cell.name, code_of(cell))))


def code_of(cell: Cell) -> str:
    """Return a sum of all that a cell's pictures depend on beside the models; "" where no code of ours runs."""
    if cell.method in (UNCACHED, FEWER_STEPS, DATA):
        return ""
    taken = [code_of_part(name, cell.variant) for name in parts_of(cell)]
    return sum_of(policy_files(cell.method, cell.correction), [cell.definition, *taken])


def parts_of(cell: Cell) -> list[str]:
    """Return what a cell takes from the kit: names of artefacts, and the kind of its threshold."""
    kind = cell.tuned[1].rpartition("_")[0]
    derived = DERIVED.get(cell.correction_tuned[1], "")
    named = (cell.artefact, cell.correction_artefact, kind if kind in THRESHOLDS else "", derived)
    return [name for name in named if name]


def code_of_part(name: str, variant: str = "") -> str:
    """Return a sum of what made a part of the kit, or of a trained file and what is done to it."""
    if name in PROBES:
        made_by, words = sources(_CORE / "calibration" / f"{PROBES[name]}.py"), [str(PICTURES[name])]
    elif name in THRESHOLDS:
        made_by, words = policy_files(THRESHOLDS[name]), [str(PICTURES[name])]
        words += [code_of_part("coefficients")] if name == "fitted" else []
    elif trained.is_trained(name):
        made_by, words = {trained.path_of(name), *([_BY_HAND] if variant else [])}, [variant]
    else:
        made_by, words = {_BY_HAND}, []
    return sum_of(sorted(made_by), words)


def sum_of(files: Iterable[Path], words: Iterable[str]) -> str:
    """Return digits that change with what the Python files among `files` do, the bytes of the others, and the words."""
    listed = list(files)
    others = [path for path in listed if path.suffix != ".py"]
    return fingerprint(others, [*words, *(_doing(path) for path in listed if path not in others)])[:_DIGITS]


def policy_files(*names: str) -> list[Path]:
    """Return the files of some methods and corrections with their maths; a method of another pack has none here."""
    own = [_CORE / "policies" / f"{name}.py" for name in names if name]
    return sorted({path for start in own if start.is_file() for path in sources(start)})


@cache
def sources(path: Path) -> frozenset[Path]:
    """Return a file of `cache_core` and the files of maths that it imports, directly or not."""
    found, open_files = {path}, [path]
    while open_files:
        for imported in _imports(open_files.pop()):
            if imported not in found and imported.relative_to(_CORE).parts[0] in _FOLLOWED:
                found.add(imported)
                open_files.append(imported)
    return frozenset(found)


class _Silenced(ast.NodeTransformer):
    """Takes out what is for people."""

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Name) or node.func.id != "setting":
            return self.generic_visit(node)
        default, *others = node.args
        keywords = [self.generic_visit(keyword) for keyword in node.keywords]
        kept = ast.Call(node.func, [default, *(self.visit(one) for one in others)], keywords)
        return ast.copy_location(kept, node)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        is_text = isinstance(node.value, str) and " " in node.value
        return ast.copy_location(ast.Constant(""), node) if is_text else node


@cache
def _doing(path: Path) -> str:
    """Return the code of a file without what is for people."""
    return ast.unparse(_Silenced().visit(ast.parse(path.read_text(encoding="utf-8"))))


def _imports(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            target = folder.joinpath(*(node.module or "").split("."))
            for candidate in (
                target.with_suffix(".py"),
                *(target / f"{name.name}.py" for name in node.names),
            ):
                if candidate.is_file() and candidate.is_relative_to(_CORE):
                    yield candidate

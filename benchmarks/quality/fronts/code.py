"""Short sums of the code that a contender's pictures depend on, so that no record outlives what it measured."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from metrics.study.store import fingerprint

from ..cells import Cell
from ..engine import ROOT
from .front import PACK, SEARCHED
from .settings import Size

_CORE = ROOT / "cache_core"
_FOLLOWED = ("ops", "forecasting.py", "overlay.py")
"""Where a method's maths lies beside its own file; the engine under it is held by its tests."""


def code_of(cell: Cell, size: Size) -> str:
    """Return what is part of a record's name: a sum of the code, and how a cell was tuned or searched.

    What runs no code of this project is held by the folder, which is named after the host's version.
    """
    if cell.method == SEARCHED:
        return f"{size.runs}x{size.searching}"
    if cell.method == PACK:
        return f"{_code_of_pack(Path(str(dict(cell.settings)['path'])))}_tuned{size.tuning}"
    own = [_CORE / "policies" / f"{name}.py" for name in (cell.method, cell.correction) if name]
    files = sorted({path for start in own if start.is_file() for path in sources(start)})
    parts = [fingerprint(files, [])[:8]] if files else []
    parts += [f"tuned{size.tuning}"] if cell.tuned[0] else []
    return "_".join(parts) or "host"


@cache
def _code_of_pack(folder: Path) -> str:
    return fingerprint(sorted(folder.rglob("*.py")), [])[:8]


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

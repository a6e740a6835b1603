"""Short sums of the code that a contender's pictures depend on, so that no record outlives what it measured."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from metrics.study.store import fingerprint

from ..cells import Cell
from ..code import policy_files, sum_of
from . import dbcache, diffusers_models
from .front import CACHE_DIT, PACK, SEARCHED
from .settings import Size


def code_of(cell: Cell, size: Size) -> str:
    """Return what is part of a record's name: a sum of the code, and how a cell was tuned or searched.

    What runs no code of this project is held by the folder, which is named after the host's version.
    """
    if cell.method == SEARCHED:
        return f"{size.runs}x{size.searching}"
    if cell.method == PACK:
        return f"{_code_of_pack(Path(str(dict(cell.settings)['path'])))}_tuned{size.tuning}"
    if cell.method == CACHE_DIT:
        return f"{_code_of_cache_dit()}_tuned{size.tuning}"
    files = policy_files(cell.method, cell.correction)
    parts = [sum_of(files, [])] if files else []
    parts += [f"tuned{size.tuning}"] if cell.tuned[0] else []
    return "_".join(parts) or "host"


@cache
def _code_of_cache_dit() -> str:
    own = (dbcache, diffusers_models)
    return sum_of([Path(str(module.__file__)) for module in own], dbcache.versions())


@cache
def _code_of_pack(folder: Path) -> str:
    return fingerprint(sorted(folder.rglob("*.py")), [])[:8]

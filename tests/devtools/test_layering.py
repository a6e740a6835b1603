from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

# Copied into the private environment and run there, beside torch; `dev.py` never imports it.
ELSEWHERE = "remedies"


def foreign_imports(source: str) -> set[str]:
    """Return the top-level modules that a source imports and that are neither ours nor the standard library's."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found - sys.stdlib_module_names - {"devtools"}


def sources(checkout: Path) -> list[Path]:
    inside = [path for path in (checkout / "devtools").rglob("*.py") if ELSEWHERE not in path.parts]
    return [checkout / "dev.py", *inside]


def test_the_tooling_imports_the_standard_library_only(checkout: Path) -> None:
    files = sources(checkout)
    assert len(files) > 10
    found = {path.name: foreign_imports(path.read_text(encoding="utf-8")) for path in files}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source", ["import torch", "from torch import nn", "def f():\n    import numpy.linalg"]
)
def test_the_layering_test_can_fail(source: str) -> None:
    assert foreign_imports(source)


@pytest.mark.parametrize(
    "source", ["import json", "from .paths import Layout", "from devtools.cli import main"]
)
def test_what_is_allowed_passes(source: str) -> None:
    assert not foreign_imports(source)

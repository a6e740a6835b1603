"""Who may import whom; and proof that this test can fail."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# A module may import those left of it; adapters and policies are leaves that know only their contract.
ORDER = [
    "types",
    "errors",
    "registry",
    "ops",
    "scope",
    "clock",
    "untrusted",
    "chart",
    "layouts",
    "artefact",
    "artefact_file",
    "components",
    "mapping",
    "step_schedule",
    "policy",
    "forecasting",
    "presets",
    "overlay",
    "prediction",
    "probe",
    "adapter",
    "fingerprint",
    "streams",
    "blocks",
    "transfer",
    "residence",
    "allowance",
    "watch",
    "store",
    "footprint",
    "planner",
    "report",
    "session",
]
LEAVES = {
    "ops": "registry",
    "policies": "overlay",
    "adapters": "blocks",
    "importers": "components",
    "calibration": "probe",
    "searching": "probe",
    "training": "session",
}
FAMILIES = {"searching", "training"}
"""Leaves whose files may also import each other."""
ALLOWED_OUTSIDE = {"torch", "safetensors", "einops", "numpy"}
KNOWS = {
    "artefact_files": {"folder_paths"},
    "host": {"comfy", "comfy_execution"},
    "progress": {"comfy_execution", "server"},
    "runs": {"comfy"},
    "schedule_runs": {"comfy"},
    "trajectory": {"comfy"},
    "uncached": {"comfy"},
}
HOST = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "nodes",
    "folder_paths",
    "execution",
    "server",
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (dots, dotted name) for every import of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def core_faults(core: Path) -> list[str]:
    """Return every import of the core that goes the wrong way."""
    return [
        f"{path.parent.name}/{path.stem} imports {'.' * dots}{target}"
        for path in sorted(core.rglob("*.py"))
        for dots, target in imports(path)
        if not is_allowed(path.parent.name, path.stem, dots, target.split(".")[0])
    ]


def is_allowed(folder: str, name: str, dots: int, top: str) -> bool:
    """Return whether the core's file `name` in `folder` may import `top`, `dots` levels up."""
    if dots == 0:
        return top in ALLOWED_OUTSIDE or top in sys.stdlib_module_names
    if folder in FAMILIES and dots == 1:
        return True
    if folder in LEAVES and name != "__init__":
        return dots == 2 and top in ORDER[: ORDER.index(LEAVES[folder]) + 1]
    return name not in ORDER or (top in ORDER and ORDER.index(top) < ORDER.index(name))


def node_faults(nodes: Path) -> list[str]:
    """Return which node files know more of the host than `comfy_api` and what is theirs to know."""
    return [
        f"{path.stem} imports {target}"
        for path in sorted(nodes.rglob("*.py"))
        for dots, target in imports(path)
        if dots == 0 and target.split(".")[0] in HOST - {"comfy_api"} - KNOWS.get(path.stem, set())
    ]


def test_core_imports_one_way(root: Path) -> None:
    assert core_faults(root / "cache_core") == []


def test_every_core_module_has_its_place(root: Path) -> None:
    assert {path.stem for path in (root / "cache_core").glob("*.py")} - {"__init__"} == set(ORDER) - {"ops"}


def test_only_named_files_know_the_host(root: Path) -> None:
    assert node_faults(root / "nodes") == []


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("types.py", "from .errors import CacheError", "types imports .errors"),
        ("store.py", "import comfy.utils", "imports comfy.utils"),
        ("policies/x.py", "from ..store import FeatureStore", "policies/x imports ..store"),
        ("policies/x.py", "from .fora import Fora", "policies/x imports .fora"),
        ("policies/x.py", "from ..ops.indicators import relative_l1", None),
        ("ops/x.py", "from ..policy import Policy", "ops/x imports ..policy"),
        ("adapters/x.py", "from ..policy import Policy", None),
        ("session.py", "import requests", "imports requests"),
    ],
)
def test_meta_wrong_imports_are_found(tmp_path: Path, file: str, text: str, fault: str | None) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text, encoding="utf-8")
    found = core_faults(tmp_path)
    assert found == [] if fault is None else any(fault in line for line in found)


def test_meta_node_that_reaches_into_the_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import comfy.samplers", encoding="utf-8")
    assert node_faults(tmp_path) == ["x imports comfy.samplers"]


PROBE = """
import importlib.util, sys
{poison}
spec = importlib.util.spec_from_file_location("cache_core", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["cache_core"] = module
spec.loader.exec_module(module)
print(*sorted(name for name in sys.modules if name.split(".")[0].startswith("comfy")))
"""


@pytest.mark.parametrize(("poison", "found"), [("", ""), ("sys.modules['comfy'] = sys", "comfy")])
def test_core_imports_without_the_host(root: Path, poison: str, found: str) -> None:
    """The second case is the meta-test: a host that was loaded would be seen."""
    command = [sys.executable, "-c", PROBE.format(poison=poison), str(root / "cache_core" / "__init__.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found

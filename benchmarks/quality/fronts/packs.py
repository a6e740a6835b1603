"""Caching packs of others, by the path of their folder: loaded as ComfyUI loads them, driven by what their nodes ask for.

A node takes part if it asks for a MODEL and one of the known thresholds. Everything else keeps its default; where a pack
asks for the kind of model, the family's name is chosen. Packs are run as they are: what breaks is listed with its error.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

KNOBS = (
    "rel_l1_thresh",
    "residual_diff_threshold",
    "magcache_thresh",
    "fresh_threshold",
    "reuse_threshold",
)
"""Names of the inputs that decide how much is skipped: TeaCache, First Block Cache, MagCache, TaylorSeer, EasyCache."""


@dataclass(frozen=True)
class PackNode:
    """A node of a pack that can be driven."""

    path: Path
    name: str
    knob: str


class PackError(RuntimeError):
    """A pack cannot take part; the text says why."""


def find_nodes(paths: Sequence[Path]) -> tuple[list[PackNode], dict[str, str]]:
    """Return the nodes that can be driven, and by folder why a pack has none."""
    found: list[PackNode] = []
    errors: dict[str, str] = {}
    for path in paths:
        try:
            found += _drivable(path)
        except Exception as error:
            errors[path.name] = f"{type(error).__name__}: {error}"
    return found, errors


def carry(model: Any, path: Path, node: str, knob: str, value: float, family: str) -> Any:
    """Return the MODEL that a pack's node makes.

    Raises:
        PackError: If the node cannot be given what it asks for.
    """
    kind = _load(path).NODE_CLASS_MAPPINGS[node]
    given = {
        name: _choice(node, name, spec, family) for name, spec in _inputs(kind).items() if name != "model"
    }
    spec = _inputs(kind)[knob]
    given[knob] = _within(spec, value)
    return getattr(kind(), kind.FUNCTION)(model=model, **given)[0]


def _drivable(path: Path) -> list[PackNode]:
    kinds: Mapping[str, Any] = _load(path).NODE_CLASS_MAPPINGS
    found = []
    for name, kind in kinds.items():
        inputs = _inputs(kind)
        knobs = [knob for knob in KNOBS if knob in inputs]
        if "model" in inputs and knobs:
            found.append(PackNode(path, name, knobs[0]))
    if not found:
        raise PackError(
            f"none of its nodes {sorted(kinds)} takes a MODEL and one of {list(KNOBS)}; only such nodes can be driven"
        )
    return found


def _load(path: Path) -> ModuleType:
    """Load a pack once; the host must be importable."""
    name = f"pack_{path.name}".replace("-", "_").replace(".", "_")
    if name in sys.modules:
        return sys.modules[name]
    start = path / "__init__.py"
    if not start.is_file():
        raise PackError(
            f"got no file {start.name} in {path}; expected the folder of a pack as in custom_nodes"
        )
    spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[str(path)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _inputs(kind: Any) -> dict[str, tuple[Any, ...]]:
    if not hasattr(kind, "INPUT_TYPES"):
        return {}
    required: dict[str, tuple[Any, ...]] = kind.INPUT_TYPES().get("required", {})
    return required


def _choice(node: str, name: str, spec: tuple[Any, ...], family: str) -> Any:
    """The default of an input, or of a list the family."""
    kind, details = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, (list, tuple)):
        if name == "model_type" and family not in kind:
            raise PackError(f'"{node}" knows no model "{family}"; it knows {list(kind)}')
        return family if family in kind else details.get("default", kind[0])
    if "default" not in details:
        raise PackError(f'"{node}" asks for "{name}" of type {kind}, which has no default')
    return details["default"]


def _within(spec: tuple[Any, ...], value: float) -> float | int:
    """A value of the knob's type and between its bounds."""
    kind, details = spec[0], spec[1]
    kept = min(max(value, details.get("min", value)), details.get("max", value))
    return round(kept) if kind == "INT" else float(kept)

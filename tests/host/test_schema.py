"""Public behaviour is frozen: ids, inputs, defaults and bounds. A change here is deliberate and in the changelog."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import real


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "tooltip"}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _schema(node: Any) -> dict[str, Any]:
    schema = node.GET_SCHEMA()
    inputs = schema.get_v1_info(node).input
    outputs = [output.get_io_type() for output in schema.outputs]
    return {"inputs": _plain(inputs), "outputs": outputs, "category": schema.category}


def test_ids_inputs_and_defaults_are_frozen(host: real.Host, root: Path) -> None:
    """After a deliberate change: FEATURECACHE_WRITE_GOLDEN=1 python dev.py test -- -k frozen."""
    golden = root / "tests" / "golden" / "node_schema.json"
    actual = {name: _schema(node) for name, node in sorted(host.nodes.items())}
    if os.environ.get("FEATURECACHE_WRITE_GOLDEN"):
        golden.write_text(json.dumps(actual, indent=2) + "\n", encoding="utf-8")
    assert json.loads(json.dumps(actual)) == json.loads(golden.read_text(encoding="utf-8"))

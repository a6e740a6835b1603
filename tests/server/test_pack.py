"""What a running ComfyUI makes of the pack."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from client import Comfy

from devtools.server import PACK_NAME, Server


def _get(server: Server, path: str) -> bytes:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=30) as answer:
        body: bytes = answer.read()
        return body


def test_nodes_are_offered(comfy: Comfy) -> None:
    info = comfy.object_info()
    assert info["FeatureCache"]["display_name"] == "Feature Cache"
    assert info["FeatureCacheReport"]["output_node"] is True
    assert "ZooCaption" in info


def test_log_has_no_error_of_ours(server: Server) -> None:
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert "IMPORT FAILED" not in log
    assert "Traceback" not in log


def test_every_node_has_a_help_page(server: Server, root: Path) -> None:
    for node in json.loads((root / "tests" / "golden" / "node_schema.json").read_text(encoding="utf-8")):
        page = _get(server, f"/extensions/{PACK_NAME}/docs/{node}.md").decode()
        assert page.startswith("# ")


def test_workflows_are_offered_as_templates(server: Server, root: Path) -> None:
    offered: dict[str, list[str]] = json.loads(_get(server, "/workflow_templates"))
    assert sorted(offered[PACK_NAME]) == sorted(path.stem for path in (root / "workflows").glob("*.json"))
    for name in offered[PACK_NAME]:
        loaded: dict[str, Any] = json.loads(_get(server, f"/api/workflow_templates/{PACK_NAME}/{name}.json"))
        assert loaded["nodes"]


def test_shipped_workflows_need_no_development_node(root: Path) -> None:
    for path in (root / "workflows").glob("*.json"):
        kinds = {node["type"] for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]}
        assert not any(kind.startswith("Zoo") for kind in kinds), path.name
        assert "MarkdownNote" in kinds, f"{path.name} says what to expect"

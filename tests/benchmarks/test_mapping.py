"""The zoo's mapping replaces what belongs to the checkpoint and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from zoo.mapping import MappingError, to_zoo


@pytest.fixture(params=["flux_how_much_faster"])
def workflow(request: pytest.FixtureRequest, root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        (root / "workflows" / f"{request.param}.json").read_text(encoding="utf-8")
    )
    return loaded


def _nodes(workflow: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {node["id"]: node for node in workflow["nodes"]}


def test_every_change_is_named_and_nothing_else_changes(workflow: dict[str, Any]) -> None:
    mapped, changes = to_zoo(workflow)
    before, after = _nodes(workflow), _nodes(mapped)
    changed = {i for i in before if i not in after or _content(before[i]) != _content(after[i])}
    named = {int(line.split("(node ")[1].split(")")[0]) for line in changes}
    assert changed == named
    kinds = {before[i]["type"] for i in changed}
    assert kinds == {
        "UNETLoader",
        "DualCLIPLoader",
        "VAELoader",
        "CLIPTextEncode",
        "EmptySD3LatentImage",
        "KSampler",
    }


def _content(node: dict[str, Any]) -> tuple[Any, ...]:
    return node["type"], node.get("widgets_values")


def test_sampler_keeps_all_but_its_guidance(workflow: dict[str, Any]) -> None:
    mapped, _ = to_zoo(workflow)
    for i, node in _nodes(workflow).items():
        if node["type"] == "KSampler":
            pairs = zip(node["widgets_values"], _nodes(mapped)[i]["widgets_values"], strict=True)
            assert [place for place, (a, b) in enumerate(pairs) if a != b] == [3]


def test_captions_keep_their_text(workflow: dict[str, Any]) -> None:
    mapped, _ = to_zoo(workflow)
    texts = [node["widgets_values"] for node in workflow["nodes"] if node["type"] == "CLIPTextEncode"]
    assert [node["widgets_values"] for node in mapped["nodes"] if node["type"] == "ZooCaption"] == texts


def test_no_link_dangles(workflow: dict[str, Any]) -> None:
    mapped, _ = to_zoo(workflow)
    nodes, links = _nodes(mapped), {link[0]: link for link in mapped["links"]}
    for link in links.values():
        assert link[1] in nodes and link[3] in nodes
    for node in nodes.values():
        assert all(entry["link"] is None or entry["link"] in links for entry in node["inputs"])
        assert all(link in links for output in node["outputs"] for link in output["links"] or [])


def test_the_original_is_untouched(workflow: dict[str, Any]) -> None:
    copy = json.dumps(workflow)
    to_zoo(workflow)
    assert json.dumps(workflow) == copy


def test_a_node_without_counterpart_is_refused() -> None:
    node = {"id": 7, "type": "TripleCLIPLoader", "inputs": [], "outputs": []}
    with pytest.raises(MappingError, match="Node 7 is a 'TripleCLIPLoader'"):
        to_zoo({"nodes": [node], "links": []})


def test_ready_copies_are_the_mapping_of_the_workflows(root: Path) -> None:
    """`python dev.py zoo workflows` writes them again."""
    ready = root / "benchmarks" / "zoo" / "workflows"
    names = sorted(path.name for path in (root / "workflows").glob("*.json"))
    assert sorted(path.name for path in ready.glob("*.json")) == names
    for name in names:
        mapped, _ = to_zoo(json.loads((root / "workflows" / name).read_text(encoding="utf-8")))
        assert json.loads((ready / name).read_text(encoding="utf-8")) == mapped

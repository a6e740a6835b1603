"""The zoo's mapping replaces what belongs to the checkpoint and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from zoo.mapping import MappingError, to_zoo

EXAMPLES = [
    "flux_how_much_faster",
    "sd3_which_steps_can_be_skipped",
    "pixart_can_a_cache_correct_itself",
    "flux_what_does_correction_repair",
    "sd3_what_may_every_step_reuse",
]
"""Each loader and each node that names a file."""


@pytest.fixture(params=EXAMPLES)
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
    changed = {i for i in before.keys() | after if _content(before.get(i)) != _content(after.get(i))}
    named = {int(i) for line in changes for i in re.findall(r"\(node (\d+)\)", line)}
    assert changed == named
    kinds = {before[i]["type"] for i in changed & before.keys()}
    assert kinds <= {
        "UNETLoader",
        "CheckpointLoaderSimple",
        "DualCLIPLoader",
        "CLIPLoader",
        "VAELoader",
        "CLIPTextEncode",
        "EmptySD3LatentImage",
        "EmptyLatentImage",
        "KSampler",
        "FeatureCacheCalibrate",
        "CacheScheduleSearch",
        "CacheRouterTrainer",
        "TeaCacheThreshold",
        "L2CRouterLoader",
        "ErrorOptimizer",
    }


def _content(node: dict[str, Any] | None) -> tuple[Any, ...]:
    return () if node is None else (node["type"], node.get("widgets_values"))


def test_a_sampler_keeps_all_but_its_guidance_and_scheduler(workflow: dict[str, Any]) -> None:
    mapped, _ = to_zoo(workflow)
    for i, node in _nodes(workflow).items():
        if node["type"] == "KSampler":
            pairs = list(zip(node["widgets_values"], _nodes(mapped)[i]["widgets_values"], strict=True))
            assert {place for place, (a, b) in enumerate(pairs) if a != b} <= {3, 5}
            assert (pairs[3][1], pairs[5][1]) == (4.0, "simple")


def test_a_calibration_changes_its_settings_and_the_file_that_it_makes() -> None:
    inputs = [
        {"name": name, "widget": {"name": name}, "link": None}
        for name in ("what", "seed", "cfg", "scheduler", "file_name")
    ]
    values = ["prior", 1, "fixed", 4.5, "karras", "pixart_sigma_prior_20_steps.safetensors"]
    node = {
        "id": 7,
        "type": "FeatureCacheCalibrate",
        "inputs": inputs,
        "outputs": [],
        "widgets_values": values,
    }
    loader = {
        "id": 1,
        "type": "UNETLoader",
        "inputs": [],
        "outputs": [],
        "widgets_values": ["PixArt-Sigma.safetensors"],
    }
    mapped, _ = to_zoo({"nodes": [loader, node], "links": []})
    zoo = ["prior", 1, "fixed", 4.0, "simple", "zoo_pixart_prior_20_steps.safetensors"]
    assert _nodes(mapped)[7]["widgets_values"] == zoo


@pytest.mark.parametrize(("family", "size"), [("sd3", 192), ("pixart", 272)])
def test_what_a_file_was_made_for_follows_the_model(root: Path, family: str, size: int) -> None:
    path = root / "workflows" / f"{family}_which_steps_can_be_skipped.json"
    mapped, _ = to_zoo(json.loads(path.read_text(encoding="utf-8")))
    (node,) = (node for node in mapped["nodes"] if node["type"] == "TeaCacheThreshold")
    name, *_, made_for = node["widgets_values"][5:]
    assert name == f"zoo_{family}_teacache_coefficients.safetensors"
    assert made_for.startswith(f"zoo_{family}, 20 steps, euler, simple, cfg 4, {size} x {size}. The frame")


def test_another_model_is_refused() -> None:
    node = {
        "id": 1,
        "type": "UNETLoader",
        "inputs": [],
        "outputs": [],
        "widgets_values": ["wan2.1.safetensors"],
    }
    with pytest.raises(MappingError, match=r"loads \['wan2.1.safetensors'\]"):
        to_zoo({"nodes": [node], "links": []})


def test_captions_keep_their_text(workflow: dict[str, Any]) -> None:
    mapped, _ = to_zoo(workflow)
    texts = [node["widgets_values"] for node in workflow["nodes"] if node["type"] == "CLIPTextEncode"]
    assert [node["widgets_values"] for node in mapped["nodes"] if node["type"] == "ZooCaption"] == texts


def test_no_link_dangles(workflow: dict[str, Any]) -> None:
    mapped, _ = to_zoo(workflow)
    nodes, links = _nodes(mapped), {link[0]: link for link in mapped["links"]}
    for link in links.values():
        assert link[0] in nodes[link[1]]["outputs"][link[2]]["links"]
        assert link[0] == nodes[link[3]]["inputs"][link[4]]["link"]
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

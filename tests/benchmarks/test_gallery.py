"""The workflows that ship: what their files promise whoever opens them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from gallery.nodes import CACHES, MAKERS, TYPES
from gallery.page import replaced, table
from gallery.questions import asked, workflows

Box = tuple[float, float, float, float]

FAMILIES = ("flux", "sd3", "pixart")
METHODS = {
    "how_much_faster": "Step List",
    "what_if_every_second_step_reuses": "FORA",
    "which_blocks_can_wait": "Block Caching",
    "which_steps_can_be_skipped": "TeaCache",
    "which_steps_are_worth_computing": "Step List",
    "what_may_every_second_step_reuse": "Learning-to-Cache",
    "what_may_every_step_reuse": "HarmoniCa",
    "can_a_cache_correct_itself": "Error-Optimized Cache",
}
NAMES = sorted(workflows())


@pytest.fixture(params=NAMES)
def workflow(request: pytest.FixtureRequest, root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((root / "workflows" / request.param).read_text(encoding="utf-8"))
    return loaded


def _box(node: dict[str, Any]) -> Box:
    """Left, top, right and bottom, with the title bar above."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - 30, x + width, y + height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _frame(group: dict[str, Any]) -> Box:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def test_the_files_are_those_of_the_gallery(root: Path) -> None:
    """`python dev.py zoo workflows` writes them again."""
    files = {path.name: path for path in (root / "workflows").glob("*.json")}
    assert {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()} == workflows()


def test_every_method_has_a_workflow_for_every_family() -> None:
    assert {f"{family}_{method}.json" for family in FAMILIES for method in METHODS} <= set(NAMES)


def test_no_development_node_is_needed(workflow: dict[str, Any]) -> None:
    assert {node["type"] for node in workflow["nodes"]} <= set(TYPES)
    assert not any(node["type"].startswith("Zoo") for node in workflow["nodes"])


def test_no_two_nodes_overlap(workflow: dict[str, Any]) -> None:
    pairs = itertools.combinations(workflow["nodes"], 2)
    assert [(a["type"], b["type"]) for a, b in pairs if _overlap(_box(a), _box(b))] == []


def test_a_frame_holds_the_muted_nodes_and_touches_no_other(workflow: dict[str, Any]) -> None:
    frames = [_frame(group) for group in workflow["groups"]]
    for node in workflow["nodes"]:
        assert any(_overlap(_box(node), frame) for frame in frames) == (node["mode"] == 2)


@pytest.mark.parametrize("name", NAMES)
def test_the_note_asks_the_question_and_says_where_every_file_goes(name: str) -> None:
    nodes = workflows()[name]["nodes"]
    (text,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    family = asked()[name].family
    assert text.startswith(f"## {asked()[name].text}\n")
    assert family.files in text and "{" not in text and "  " not in text
    files = [
        value
        for node in nodes
        if "Loader" in node["type"] and node["type"] != "L2CRouterLoader"
        for value in node["widgets_values"]
        if str(value).endswith(".safetensors")
    ]
    assert files and all(f"`{file}`" in family.files for file in files)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_does_not_ship_says_for_what_and_a_calibration_makes_it(name: str, root: Path) -> None:
    nodes = workflows()[name]["nodes"]
    shipped = {path.name for path in (root / "cache_core" / "artefacts").glob("*.safetensors")}
    made = [_widgets(node)["file_name"] for node in nodes if node["type"] in MAKERS]
    for node in nodes:
        if node["type"] not in CACHES:
            continue
        file = next((v for v in node["widgets_values"] if str(v).endswith(".safetensors")), None)
        if file is None or file in shipped:
            continue
        assert asked()[name].family.made_for in node["widgets_values"][-1]
        assert made == [file]


def test_a_calibration_samples_as_the_sampler_does(workflow: dict[str, Any]) -> None:
    shared = {"steps": 20, "cfg": 1.0, "sampler_name": "", "scheduler": "", "denoise": 1.0}
    settings = [
        tuple(_widgets(node).get(name, default) for name, default in shared.items())
        for node in workflow["nodes"]
        if node["type"] in {"KSampler", *MAKERS}
    ]
    assert len(set(settings)) == 1


@pytest.mark.parametrize(
    ("question", "method", "ratio"),
    [
        ("what_may_every_second_step_reuse", "learning_to_cache", 0.78),
        ("what_may_every_step_reuse", "harmonica", 0.6),
    ],
)
def test_a_router_is_trained_in_a_muted_frame_and_the_note_says_that_it_takes_long(
    question: str, method: str, ratio: float
) -> None:
    for family in FAMILIES:
        nodes = workflows()[f"{family}_{question}.json"]["nodes"]
        (trainer,) = (node for node in nodes if node["type"] == "CacheRouterTrainer")
        (text,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
        widgets = _widgets(trainer)
        assert trainer["mode"] == 2 and (widgets["method"], widgets["method.refresh_ratio"]) == (
            method,
            ratio,
        )
        assert (
            "**It is a training, no calibration:**" in text
            and f"{widgets['iterations']} *iterations*" in text
        )


def _widgets(node: dict[str, Any]) -> dict[str, Any]:
    names = [entry["name"] for entry in node["inputs"] if "widget" in entry]
    names.insert(names.index("seed") + 1, "control_after_generate")
    return dict(zip(names, node["widgets_values"], strict=True))


def test_the_readme_lists_them_with_what_they_need(root: Path) -> None:
    page = (root / "workflows" / "README.md").read_text(encoding="utf-8")
    shipped = [path.name for path in (root / "cache_core" / "artefacts").glob("*.safetensors")]
    rows = table(asked(), shipped)
    assert replaced(page, rows) == page
    assert (
        rows.count("| a router, which it trains itself, first, once |") == 6
        and rows.count("| a file that ships |") == 1
    )

"""The workflow in a real browser: it opens, nothing is red, it runs, and the report is on the node."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.server import Server

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which dev.py installs")

CHROMIUM = (
    os.environ.get("FEATURECACHE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip(
            "needs Chromium: install Debian's package `chromium`, or name one in FEATURECACHE_CHROMIUM"
        )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1900, "height": 1000})
        opened.goto(server.url)
        opened.wait_for_function(
            "window.app && window.app.graph && window.app.extensionManager", timeout=120_000
        )
        opened.wait_for_timeout(3000)
        # The first visit offers templates in a dialog over the graph.
        opened.keyboard.press("Escape")
        yield opened
        browser.close()


def _load(page: Any, path: Path) -> None:
    page.evaluate("(graph) => window.app.loadGraphData(graph)", json.loads(path.read_text(encoding="utf-8")))
    page.wait_for_timeout(1500)


def test_ready_copy_opens_runs_and_shows_the_report(page: Any, root: Path, tmp_path: Path) -> None:
    _load(page, root / "benchmarks" / "zoo" / "workflows" / "flux_how_much_faster.json")
    nodes = page.evaluate(
        "() => window.app.graph.nodes.map(n => ({type: n.type, missing: !LiteGraph.registered_node_types[n.type],"
        " errors: Boolean(n.has_errors)}))"
    )
    assert {"FeatureCache", "FeatureCacheReport", "ZooCaption"} <= {node["type"] for node in nodes}
    assert [node["type"] for node in nodes if node["missing"] or node["errors"]] == []
    page.evaluate("() => window.app.queuePrompt(0)")
    page.wait_for_function(
        "() => window.app.graph.nodes.some(n => n.type === 'FeatureCacheReport' && n.imgs && n.imgs.length > 0)",
        timeout=180_000,
    )
    errors = page.evaluate("() => window.app.graph.nodes.filter(n => n.has_errors).map(n => n.type)")
    assert errors == []
    page.evaluate("() => { window.app.canvas.ds.scale = 0.6; window.app.canvas.ds.offset = [160, 330]; }")
    page.evaluate("() => window.app.graph.setDirtyCanvas(true, true)")
    page.wait_for_timeout(2000)
    if os.environ.get("FEATURECACHE_WRITE_SCREENSHOT"):
        # Until the browser's own messages are gone.
        page.wait_for_timeout(6000)
    page.screenshot(path=tmp_path / "workflow.png", clip={"x": 60, "y": 90, "width": 1840, "height": 530})
    if os.environ.get("FEATURECACHE_WRITE_SCREENSHOT"):
        shutil.copy(tmp_path / "workflow.png", root / "docs" / "workflow.png")


def test_widgets_follow_the_method(page: Any, root: Path) -> None:
    _load(page, root / "workflows" / "flux_what_if_every_second_step_reuses.json")
    widgets = page.evaluate(
        "() => window.app.graph.nodes.find(n => n.type === 'FeatureCache').widgets.map(w => [w.name, w.value])"
    )
    assert dict(map(tuple, widgets)) == {
        "method": "fora",
        "method.interval": 2,
        "method.anchor": "end",
        "method.level": "module",
        "start_percent": 0,
        "end_percent": 1,
        "cache_device": "same as model",
        "cache_dtype": "same as model",
        "memory_budget_mb": 0,
        "artefact": "none",
        "made_for": "",
    }


def test_saved_graph_is_the_file(page: Any, root: Path) -> None:
    """What the browser would save again has the same nodes, links and settings."""
    path = root / "workflows" / "flux_how_much_faster.json"
    _load(page, path)
    saved, shipped = (
        page.evaluate("() => window.app.graph.serialize()"),
        json.loads(path.read_text(encoding="utf-8")),
    )
    for node, content in _nodes(shipped).items():
        assert _nodes(saved)[node] == content
    assert _links(saved) == _links(shipped)


@pytest.mark.parametrize("name", ["flux_what_may_every_step_reuse", "pixart_can_a_cache_correct_itself"])
def test_the_name_of_a_file_that_is_missing_is_kept(page: Any, root: Path, name: str) -> None:
    """A shared workflow whose artefact the receiver lacks: opened and saved again, it still names the file."""
    path = root / "workflows" / f"{name}.json"
    shipped = json.loads(path.read_text(encoding="utf-8"))
    file = next(
        value
        for node in shipped["nodes"]
        if node["type"] in ("L2CRouterLoader", "ErrorOptimizer")
        for value in node["widgets_values"]
        if str(value).endswith(".safetensors")
    )
    _load(page, path)
    shown = page.evaluate(
        "() => window.app.graph.nodes.flatMap(n => (n.widgets || []).filter(w => w.name === 'artefact').map(w => w.value))"
    )
    assert file in shown
    saved = page.evaluate("() => window.app.graph.serialize()")
    assert _nodes(saved) == _nodes(shipped)


CHOOSE = """([type, file]) => {
    const node = window.app.graph.nodes.find(n => n.type === type);
    const widget = node.widgets.find(w => w.name === 'artefact');
    widget.value = file;
    widget.callback(file, window.app.canvas, node);
    return node.widgets.find(w => w.name === 'made_for').value;
}"""
LISTS = [f"flux_dev_50_steps_{count}_full.safetensors" for count in (21, 13)]
ROUTERS = "flux_what_may_every_step_reuse"


def _loader(page: Any, root: Path, made_for: str) -> None:
    """Open a workflow with a Router Loader, whose `made_for` reads so."""
    graph = json.loads((root / "workflows" / f"{ROUTERS}.json").read_text(encoding="utf-8"))
    [node] = [node for node in graph["nodes"] if node["type"] == "L2CRouterLoader"]
    node["widgets_values"][-1] = made_for
    page.evaluate("(graph) => window.app.loadGraphData(graph)", graph)
    page.wait_for_timeout(1500)


def test_choosing_a_file_tells_what_it_was_made_for(page: Any, root: Path) -> None:
    _loader(page, root, "")
    for file in LISTS:
        told = page.evaluate(CHOOSE, ["L2CRouterLoader", file])
        assert told == "flux (19 double blocks and 38 single blocks), 50 steps, euler, 1024 x 1024"
    assert page.evaluate(CHOOSE, ["L2CRouterLoader", "published.pt"]) == ""


def test_own_words_about_a_file_stay(page: Any, root: Path) -> None:
    _loader(page, root, "my own words")
    assert page.evaluate(CHOOSE, ["L2CRouterLoader", LISTS[0]]) == "my own words"


def test_a_saved_workflow_carries_what_was_told_of_the_file(page: Any, root: Path) -> None:
    """Opened elsewhere, where another file is chosen, it follows that one: it is nobody's own words."""
    _loader(page, root, "")
    told = page.evaluate(CHOOSE, ["L2CRouterLoader", LISTS[0]])
    saved = page.evaluate("() => window.app.graph.serialize()")
    [node] = [node for node in saved["nodes"] if node["type"] == "L2CRouterLoader"]
    assert node["widgets_values"][0] == LISTS[0] and node["widgets_values"][-1] == told != ""
    page.evaluate("(graph) => window.app.loadGraphData(graph)", saved)
    page.wait_for_timeout(1500)
    assert page.evaluate(CHOOSE, ["L2CRouterLoader", "none"]) == ""


def test_side_by_side_opens_with_every_node_and_none_over_another(
    page: Any, root: Path, tmp_path: Path
) -> None:
    _load(page, root / "benchmarks" / "zoo" / "workflows" / "flux_what_does_correction_repair.json")
    nodes = page.evaluate(
        "() => window.app.graph.nodes.map(n => ({type: n.type, box: [...n.boundingRect], mode: n.mode,"
        " missing: !LiteGraph.registered_node_types[n.type]}))"
    )
    assert [node["type"] for node in nodes if node["missing"]] == []
    pairs = itertools.combinations(nodes, 2)
    assert [(a["type"], b["type"]) for a, b in pairs if _overlap(a["box"], b["box"])] == []
    assert {node["type"] for node in nodes if node["mode"] == 2} >= {"FeatureCacheCalibrate", "ZooCaption"}
    page.screenshot(path=tmp_path / "side_by_side.png")


def _overlap(one: list[float], other: list[float]) -> bool:
    """Return whether two boxes, each (left, top, width, height), share room."""
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))


def _nodes(graph: dict[str, Any]) -> dict[int, tuple[Any, ...]]:
    # A note's text widget is the browser's own affair.
    kept = [node for node in graph["nodes"] if node["type"] != "MarkdownNote"]
    return {node["id"]: (node["type"], node.get("widgets_values") or []) for node in kept}


def _links(graph: dict[str, Any]) -> list[Any]:
    return sorted(link[1:6] for link in graph["links"])

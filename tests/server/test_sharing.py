"""A shared workflow with an artefact, on a machine that has the file and on one that lacks it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import published
import pytest
import torch
from client import Comfy, ComfyError, Prompt
from graphs import node_of, with_inputs
from safetensors import safe_open

import cache_core
from devtools.server import Server

NAME = "zoo_router.safetensors"


@pytest.fixture
def routed(prompt: Prompt) -> Prompt:
    """Return the shipped workflow's prompt with a Router Loader in the place of the cache node."""
    changed = copy.deepcopy(prompt)
    node = changed[node_of(changed, "FeatureCache")]
    node["class_type"] = "L2CRouterLoader"
    node["inputs"] = {
        "model": node["inputs"]["model"],
        "artefact": NAME,
        "threshold": "from file",
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    return changed


def _zoo_router(root: Path) -> cache_core.Artefact:
    """Return a router for the zoo's Flux that computes nothing after the first of six steps."""
    with safe_open(root / "benchmarks" / "zoo" / "checkpoints" / "zoo_flux.safetensors", "pt") as file:
        names = list(file.keys())
        width = next(file.get_slice(name).get_shape()[0] for name in names if name.endswith("img_in.weight"))
    counts = [
        1 + max(int(name.split(f"{path}.")[1].split(".")[0]) for name in names if f"{path}." in name)
        for path in ("double_blocks", "single_blocks")
    ]
    sites = published.flux_sites(*counts)
    network = published.architecture("flux", sites, hidden_size=width)
    return published.router(torch.full((6, len(sites)), -5.0), network)


def test_a_missing_file_is_explained_before_anything_runs(comfy: Comfy, routed: Prompt) -> None:
    shared = with_inputs(
        routed, "L2CRouterLoader", artefact="gone.safetensors", made_for="FLUX.1-dev, 20 steps, euler"
    )
    with pytest.raises(ComfyError) as caught:
        comfy.run(shared)
    text = str(caught.value)
    assert "The server refused the prompt" in text
    assert "'gone.safetensors' is not here. It was made for: FLUX.1-dev, 20 steps, euler." in text
    assert "models/feature_cache" in text
    assert "Value not in list" not in text


def test_a_workflow_keeps_the_name_of_a_file_that_is_missing(
    comfy: Comfy, workflow: dict[str, Any], tools_python: Path
) -> None:
    """What the browser saves and posts: the widgets' values as they are, in the order of the inputs."""
    shared = copy.deepcopy(workflow)
    node = next(node for node in shared["nodes"] if node["type"] == "FeatureCache")
    values = {
        "artefact": "gone.safetensors",
        "threshold": "from file",
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    node["type"] = node["properties"]["Node name for S&R"] = "L2CRouterLoader"
    node["inputs"] = [entry for entry in node["inputs"] if entry["name"] == "model"] + [
        {"name": name, "type": "COMBO", "widget": {"name": name}, "link": None} for name in values
    ]
    node["widgets_values"] = list(values.values())
    converted = comfy.to_prompt(shared, tools_python)
    assert converted[node_of(converted, "L2CRouterLoader")]["inputs"]["artefact"] == "gone.safetensors"


def test_a_file_in_the_models_folder_is_offered_and_followed(
    comfy: Comfy, server: Server, root: Path, routed: Prompt
) -> None:
    path = server.base / "models" / "feature_cache" / NAME
    cache_core.write_artefact(_zoo_router(root), path)
    offered = comfy.object_info()["L2CRouterLoader"]["input"]["required"]["artefact"][1]["options"]
    assert NAME in offered and "flux_dev_50_steps_21_full.safetensors" in offered
    done = comfy.run(with_inputs(routed, "KSampler", seed=21))
    numbers = done.outputs[node_of(routed, "FeatureCacheReport")]["feature_cache_report"][0]
    assert numbers["refresh_ratio"] == pytest.approx(1 / 6)


def test_a_setting_out_of_range_is_still_refused(comfy: Comfy, routed: Prompt) -> None:
    changed = with_inputs(
        routed, "L2CRouterLoader", artefact="flux_dev_50_steps_9_full.safetensors", start_percent=2.0
    )
    with pytest.raises(ComfyError, match=r"start_percent"):
        comfy.run(changed)


def test_a_file_for_another_model_is_a_clear_error(comfy: Comfy, routed: Prompt) -> None:
    changed = with_inputs(routed, "L2CRouterLoader", artefact="flux_dev_50_steps_9_full.safetensors")
    with pytest.raises(
        ComfyError, match=r"L2CRouterLoader.*does not fit this MODEL: it has 19 double blocks"
    ):
        comfy.run(changed)

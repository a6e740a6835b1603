"""Every workflow that ships: the real server finds nothing wrong with it but files, and its ready copy runs."""

from __future__ import annotations

import copy
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client import Comfy, ComfyError, Prompt
from gallery.nodes import CACHES
from graphs import node_of, with_inputs

import cache_core
from devtools.server import Server

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
FLUX = [name for name in NAMES if name.startswith("flux")]
RUNS = [*FLUX, *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name not in FLUX)]

MODEL_FILES = {"unet_name", "ckpt_name", "clip_name", "clip_name1", "clip_name2", "vae_name"}

OWN_CHECK = "Custom validation failed for node"
"""How the server heads what a node itself says of its inputs."""

SHIPPED = {path.name for path in (ROOT / "cache_core" / "artefacts").glob("*.safetensors")}

TRAINED = ROOT / "benchmarks" / "zoo" / "artefacts"

EXPECTED = {
    "what_if_every_second_step_reuses": 11 / 20,
    "can_a_cache_correct_itself": 8 / 20,
    "what_does_correction_repair": 6 / 20,
    "how_far_do_13_full_steps_of_50_go": 13 / 50,
}
"""Refresh ratio of each question, by its method's own arithmetic; the others depend on a file or the picture."""

MAKERS = {"FeatureCacheCalibrate": {"num_seeds": 1}, "CacheScheduleSearch": {"num_seeds": 1, "tries": 3}}
"""Nodes that make a file, and how they are kept short."""

Convert = Callable[[dict[str, Any]], Prompt]


@pytest.fixture(scope="module")
def convert(comfy: Comfy, tools_python: Path) -> Convert:
    """Return a function that makes the prompt of a workflow, as the browser would."""
    return lambda workflow: comfy.to_prompt(workflow, tools_python)


@pytest.fixture(scope="module")
def calibrated() -> set[str]:
    """Return the names of the files that this session's calibrations have made."""
    return set()


def _read(folder: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / folder / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _switched_on(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return a copy in which no node is muted."""
    changed = copy.deepcopy(workflow)
    for node in changed["nodes"]:
        node["mode"] = 0
    return changed


def _faults(server: Server, prompt: Prompt) -> list[tuple[str, str, str]]:
    """Return what the server refuses: input, in short, in detail."""
    body = json.dumps({"prompt": prompt}).encode()
    request = urllib.request.Request(f"{server.url}/prompt", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    found = [fault for node in json.load(refused.value)["node_errors"].values() for fault in node["errors"]]
    return [(fault["extra_info"]["input_name"], fault["message"], fault["details"]) for fault in found]


def _files(workflow: dict[str, Any]) -> set[str]:
    """Return the artefacts that a workflow's cache nodes name."""
    values = [v for node in workflow["nodes"] if node["type"] in CACHES for v in node["widgets_values"]]
    return {value for value in values if str(value).endswith(".safetensors")}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_refused_but_files_that_are_not_here(server: Server, convert: Convert, name: str) -> None:
    workflow = _switched_on(_read("workflows", name))
    faults = _faults(server, convert(workflow))
    ours = [text for _, short, text in faults if short == OWN_CHECK]
    theirs = [(given, short) for given, short, _ in faults if short != OWN_CHECK]
    assert all(given in MODEL_FILES and short == "Value not in list" for given, short in theirs)
    for file in _files(workflow) - SHIPPED:
        assert any(f"'{file}' is not here. It was made for: " in text for text in ours)
    assert all("models/feature_cache" in text for text in ours)


@pytest.mark.parametrize("name", RUNS)
def test_the_ready_copy_draws_and_counts_what_the_method_says(
    comfy: Comfy, server: Server, convert: Convert, calibrated: set[str], name: str
) -> None:
    workflow = _read("benchmarks/zoo/workflows", name)
    predicted = _calibrate(comfy, server, convert, workflow, calibrated)
    prompt = convert(workflow)
    done = comfy.run(prompt)
    pictures = [comfy.image(done, node) for node in _of_type(prompt, "SaveImage")]
    assert all(np.isfinite(picture).all() and picture.std() > 0.05 for picture in pictures)
    ratios = [
        done.outputs[node]["feature_cache_report"][0]["refresh_ratio"]
        for node in _of_type(prompt, "FeatureCacheReport")
    ]
    expected = predicted or _trained_ratio(workflow) or EXPECTED.get(name.split("_", 1)[1])
    assert ratios and all(0 < ratio < 1 for ratio in ratios)
    assert expected is None or ratios == pytest.approx([expected] * len(ratios), abs=5e-4)


def _trained_ratio(workflow: dict[str, Any]) -> float | None:
    """Return what the training of a workflow's router says that it computes."""
    paths = [TRAINED / file for file in _files(workflow) if (TRAINED / file).is_file()]
    found = [cache_core.read_artefact(path).measured.get("refresh_ratio") for path in paths]
    return next((float(ratio) for ratio in found if ratio is not None), None)


def _calibrate(
    comfy: Comfy, server: Server, convert: Convert, workflow: dict[str, Any], made: set[str]
) -> float | None:
    """Run what stands in the frame "First, once", with one seed; return the refresh ratio it predicts, if it does.

    Where the file is missing, the picture is refused and the file made; so a user's first run does nothing else.
    """
    everything = convert(_switched_on(workflow))
    kinds = [kind for kind in MAKERS if _of_type(everything, kind)]
    if not kinds:
        return None
    [kind] = kinds
    node = node_of(everything, kind)
    file = everything[node]["inputs"]["file_name"]
    assert file in _files(workflow)
    if file in made:
        return None
    first = with_inputs(everything, kind, **MAKERS[kind])
    text = comfy.run(first).outputs[node]["text"][0]
    assert f"saved as {file}\n" in text and (server.base / "models" / "feature_cache" / file).is_file()
    made.add(file)
    return float(text.split("(refresh ratio ")[1].split(")")[0]) if "(refresh ratio " in text else None


def _of_type(prompt: Prompt, class_type: str) -> list[str]:
    return [node for node, body in prompt.items() if body["class_type"] == class_type]


def test_without_correction_the_third_picture_is_the_second(
    comfy: Comfy, server: Server, convert: Convert, calibrated: set[str]
) -> None:
    workflow = _read("benchmarks/zoo/workflows", "flux_what_does_correction_repair")
    _calibrate(comfy, server, convert, workflow, calibrated)
    prompt = convert(workflow)
    uncached, cached, corrected = _pictures(comfy, prompt)
    assert not np.array_equal(uncached, cached) and not np.array_equal(cached, corrected)
    _, cached, corrected = _pictures(comfy, with_inputs(prompt, "ErrorOptimizer", correction__theta=0.0))
    assert np.array_equal(cached, corrected)


def _pictures(comfy: Comfy, prompt: Prompt) -> list[np.ndarray[Any, Any]]:
    """Return the three pictures of the side-by-side workflow, from left to right."""
    done = comfy.run(prompt)
    saved = {prompt[node]["inputs"]["filename_prefix"]: node for node in _of_type(prompt, "SaveImage")}
    return [
        comfy.image(done, saved[f"FeatureCache_{name}"]) for name in ("uncached", "over-cached", "corrected")
    ]


@pytest.mark.parametrize("name", ["flux_what_may_every_step_reuse", "pixart_which_blocks_can_wait"])
def test_a_receiver_who_lacks_the_file_is_told_which_for_what_and_where(
    comfy: Comfy, convert: Convert, name: str
) -> None:
    workflow = _read("benchmarks/zoo/workflows", name)
    (file,) = _files(workflow)
    for node in workflow["nodes"]:
        values = node.get("widgets_values") or []
        node["widgets_values"] = [f"gone_{value}" if value == file else value for value in values]
    prompt = convert(workflow)
    with pytest.raises(ComfyError) as refused:
        comfy.run(prompt)
    text = str(refused.value)
    assert f"'gone_{file}' is not here. It was made for: zoo_{name.split('_')[0]}, 20 steps" in text
    assert "models/feature_cache" in text
    verb = "makes" if name.endswith("can_wait") else "trains"
    assert f"The frame 'First, once' of this workflow {verb} it" in text

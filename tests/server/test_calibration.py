"""Calibrate in a running server, then use the file: what a user does."""

from __future__ import annotations

import copy
import re
import threading
import urllib.request

import numpy as np
import pytest
from client import Comfy, ComfyError, Prompt
from graphs import node_of, with_inputs

from devtools.server import Server


@pytest.fixture
def calibrating(prompt: Prompt) -> Prompt:
    """Return the shipped workflow's prompt with a Calibrate node in the place of sampler, decoder and cache."""
    sampler = prompt[node_of(prompt, "KSampler")]["inputs"]
    inputs = {
        name: sampler[name]
        for name in (
            "positive",
            "negative",
            "latent_image",
            "steps",
            "cfg",
            "sampler_name",
            "scheduler",
            "denoise",
        )
    }
    model = prompt[node_of(prompt, "FeatureCache")]["inputs"]["model"]
    inputs |= {
        "model": model,
        "what": "block_caching",
        "what.delta": 0.6,
        "seed": 1,
        "num_seeds": 2,
        "prompts": "one run each",
        "file_name": "",
    }
    gone = {
        "KSampler",
        "FeatureCache",
        "FeatureCacheReport",
        "SaveImage",
        "PreviewImage",
        "VAEDecode",
        "PreviewAny",
    }
    kept = {node: body for node, body in copy.deepcopy(prompt).items() if body["class_type"] not in gone}
    return kept | {"calibrate": {"class_type": "FeatureCacheCalibrate", "inputs": inputs}}


def test_calibrate_then_cache_gives_the_predicted_refresh_ratio(
    comfy: Comfy, server: Server, prompt: Prompt, calibrating: Prompt
) -> None:
    shown = comfy.run(calibrating).outputs["calibrate"]
    text = shown["text"][0]
    name = re.search(r"saved as (.+)", text)
    predicted = re.search(r"refresh ratio ([\d.]+)", text)
    assert name is not None and predicted is not None and len(shown["images"]) == 1
    assert (server.base / "models" / "feature_cache" / name[1]).is_file()
    offered = comfy.object_info()["FeatureCache"]["input"]["optional"]["artefact"][1]["options"]
    assert offered[0] == "none" and name[1] in offered

    seeded = with_inputs(prompt, "KSampler", seed=31)
    cached = with_inputs(seeded, "FeatureCache", method="block_caching", method__delta=0.6, artefact=name[1])
    done = comfy.run(cached)
    numbers = done.outputs[node_of(prompt, "FeatureCacheReport")]["feature_cache_report"][0]
    assert f"{numbers['refresh_ratio']:.3f}" == predicted[1]
    assert 0 < numbers["refresh_ratio"] < 1
    picture = comfy.image(done, node_of(prompt, "SaveImage"))
    strict = comfy.run(with_inputs(cached, "FeatureCache", method__delta=0.0))
    assert not np.array_equal(picture, comfy.image(strict, node_of(prompt, "SaveImage")))


def test_an_interrupted_calibration_writes_no_file(comfy: Comfy, server: Server, calibrating: Prompt) -> None:
    folder = server.base / "models" / "feature_cache"
    before = set(folder.glob("*")) if folder.is_dir() else set()
    asked: list[int] = []

    def interrupt(node: str, at: int, of: int) -> None:
        if not asked:
            asked.append(at)
            request = urllib.request.Request(f"{server.url}/interrupt", b"{}")
            threading.Thread(target=lambda: urllib.request.urlopen(request, timeout=30).close()).start()

    with pytest.raises(ComfyError, match="interrupted"):
        comfy.run(with_inputs(calibrating, "FeatureCacheCalibrate", num_seeds=50, seed=2), interrupt)
    assert (set(folder.glob("*")) if folder.is_dir() else set()) == before


def test_a_missing_profile_is_explained_before_anything_runs(comfy: Comfy, prompt: Prompt) -> None:
    shared = with_inputs(
        prompt,
        "FeatureCache",
        method="block_caching",
        method__delta=0.5,
        artefact="gone.safetensors",
        made_for="FLUX.1-dev, 20 steps",
    )
    with pytest.raises(ComfyError) as caught:
        comfy.run(shared)
    assert "'gone.safetensors' is not here. It was made for: FLUX.1-dev, 20 steps." in str(caught.value)
    assert "Value not in list" not in str(caught.value)


def test_a_setting_out_of_range_is_still_refused(comfy: Comfy, prompt: Prompt) -> None:
    with pytest.raises(ComfyError, match=r"FeatureCache.*delta"):
        comfy.run(with_inputs(prompt, "FeatureCache", method="block_caching", method__delta=-1.0))

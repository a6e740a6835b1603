"""Real prompts through the HTTP interface."""

from __future__ import annotations

import threading
import urllib.request

import numpy as np
import pytest
from client import Comfy, ComfyError, Executed, Prompt
from graphs import node_of, with_inputs, without_cache

from devtools.server import Server


def _report(prompt: Prompt, done: Executed) -> dict[str, float]:
    numbers: dict[str, float] = done.outputs[node_of(prompt, "FeatureCacheReport")]["feature_cache_report"][0]
    return numbers


def test_workflow_samples_and_reports(comfy: Comfy, prompt: Prompt) -> None:
    steps: list[int] = []
    done = comfy.run(with_inputs(prompt, "KSampler", seed=11), lambda node, at, of: steps.append(at))
    numbers = _report(prompt, done)
    assert (numbers["num_calls"], numbers["end_bytes"]) == (6, 0)
    # Six calls from the end: 5 forced, 4, 2 and 0 computed.
    assert numbers["refresh_ratio"] == pytest.approx(4 / 6)
    assert numbers["cost_ratio"] < 1 < numbers["ideal_speedup"]
    assert steps[-1] == 6
    assert comfy.image(done, node_of(prompt, "SaveImage")).shape == (192, 192, 3)
    shown = done.outputs[node_of(prompt, "FeatureCacheReport")]
    assert "refresh ratio" in shown["text"][0]
    assert len(shown["images"]) == 1


def test_interval_one_gives_the_uncached_picture(comfy: Comfy, prompt: Prompt) -> None:
    save = node_of(prompt, "SaveImage")
    seeded = with_inputs(prompt, "KSampler", seed=12)
    strict = comfy.image(comfy.run(with_inputs(seeded, "FeatureCache", method__interval=1)), save)
    cached = comfy.image(comfy.run(seeded), save)
    uncached = comfy.image(comfy.run(without_cache(seeded)), save)
    assert np.array_equal(strict, uncached)
    assert not np.array_equal(cached, uncached)


def _with_teacache(prompt: Prompt, **inputs: object) -> Prompt:
    """Return a copy with TeaCache Threshold in the place of the cache node."""
    node = node_of(prompt, "FeatureCache")
    values = {"indicator": "teacache", "indicator.threshold": 1.0, "indicator.coefficients": "auto"}
    window = {"model": prompt[node]["inputs"]["model"], "start_percent": 0.0, "end_percent": 1.0}
    return prompt | {node: {"class_type": "TeaCacheThreshold", "inputs": window | values | inputs}}


def test_teacache_threshold_samples_and_reports(comfy: Comfy, prompt: Prompt) -> None:
    done = comfy.run(_with_teacache(with_inputs(prompt, "KSampler", seed=17)))
    shown = done.outputs[node_of(prompt, "FeatureCacheReport")]
    assert "coefficients=identity (not calibrated for this model)" in shown["text"][0]
    assert 2 / 6 <= _report(prompt, done)["refresh_ratio"] < 1


def test_a_missing_file_of_coefficients_is_named_before_anything_runs(comfy: Comfy, prompt: Prompt) -> None:
    with pytest.raises(ComfyError, match=r"'gone.safetensors' is not here. It was made for: Flux, 28 steps"):
        comfy.run(_with_teacache(prompt, artefact="gone.safetensors", made_for="Flux, 28 steps"))


def test_report_of_samples_from_the_executors_cache_says_so(comfy: Comfy, prompt: Prompt) -> None:
    seeded = with_inputs(prompt, "KSampler", seed=13)
    report = node_of(prompt, "FeatureCacheReport")
    comfy.run({node: body for node, body in seeded.items() if node != report})
    shown = comfy.run(seeded).outputs[report]
    assert shown["text"][0].startswith("From an earlier run")


def test_setting_out_of_range_is_refused_before_anything_runs(comfy: Comfy, prompt: Prompt) -> None:
    with pytest.raises(ComfyError, match=r"FeatureCache.*interval"):
        comfy.run(with_inputs(prompt, "FeatureCache", method__interval=0))


def test_second_cache_is_a_clear_error(comfy: Comfy, prompt: Prompt) -> None:
    first = node_of(prompt, "FeatureCache")
    second = {"class_type": "FeatureCache", "inputs": prompt[first]["inputs"] | {"model": [first, 0]}}
    sampled = with_inputs(prompt, "KSampler", model=["second", 0], seed=14)
    with pytest.raises(ComfyError, match=r"FeatureCache\) failed: This MODEL already carries a cache \(FORA"):
        comfy.run(sampled | {"second": second})


def test_interrupted_run_leaves_the_next_one_alone(comfy: Comfy, prompt: Prompt, server: Server) -> None:
    save = node_of(prompt, "SaveImage")
    expected = comfy.image(comfy.run(with_inputs(prompt, "KSampler", seed=15)), save)

    asked: list[int] = []

    def interrupt(node: str, at: int, of: int) -> None:
        # The server leaves out progress messages that come too fast, so no step is sure to be seen.
        if at >= 3 and not asked:
            asked.append(at)
            request = urllib.request.Request(f"{server.url}/interrupt", b"{}")
            threading.Thread(target=lambda: urllib.request.urlopen(request, timeout=30).close()).start()

    with pytest.raises(ComfyError, match="interrupted"):
        comfy.run(with_inputs(prompt, "KSampler", seed=16, steps=200), interrupt)
    again = with_inputs(prompt, "KSampler", seed=15, denoise=0.9999999)
    assert np.abs(comfy.image(comfy.run(again), save) - expected).max() < 0.02


def test_bypassed_node_is_no_node(
    comfy: Comfy, workflow: dict[str, list[dict[str, object]]], tools_python: str, prompt: Prompt
) -> None:
    """What Ctrl+B does in the browser: the model is wired past the node."""
    import copy
    from pathlib import Path

    bypassed = copy.deepcopy(workflow)
    for node in bypassed["nodes"]:
        if node["type"] == "FeatureCache":
            node["mode"] = 4
    converted = comfy.to_prompt(bypassed, Path(tools_python))
    assert "FeatureCache" not in {body["class_type"] for body in converted.values()}
    assert converted[node_of(converted, "KSampler")]["inputs"]["model"] == [node_of(prompt, "UNETLoader"), 0]

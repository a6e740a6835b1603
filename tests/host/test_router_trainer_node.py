"""The node CacheRouterTrainer on tiny real models: trains, saves, can be used, refuses, is stopped and goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import real
import torch


@pytest.fixture
def folder(host: real.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder for artefacts, which the nodes use."""
    monkeypatch.setattr(host.module("nodes.cache_router_trainer"), "save_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def train(host: real.Host, folder: Path) -> Callable[..., Any]:
    """Return a function that runs the node, in inference mode as the executor does."""

    def run(model: Any, method: dict[str, Any] | None = None, **inputs: Any) -> Any:
        given = {
            "positive": [*real.conditioning(1), *real.conditioning(3)],
            "negative": real.conditioning(2),
            "latent_image": {"samples": torch.zeros(1, *real.latent_shape(model))},
            "steps": 4,
            "cfg": 1.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "seed": 0,
            "iterations": 2,
            "save_every": 1,
            "recompute_blocks": True,
            "file_name": "",
        }
        chosen = {"method": "harmonica", "refresh_ratio": 0.6} | (method or {})
        with torch.inference_mode():
            return host.nodes["CacheRouterTrainer"].execute(model, method=chosen, **(given | inputs))

    return run


def loaded(make: Callable[[], Any] = real.random_flux) -> Any:
    """Return a MODEL as a loader node makes it."""
    with torch.inference_mode():
        return make()


@pytest.mark.parametrize("method", ["harmonica", "learning_to_cache"])
def test_a_trained_router_is_followed_by_the_loader_node(
    host: real.Host, folder: Path, train: Callable[..., Any], report: Callable[[Any], Any], method: str
) -> None:
    model = loaded()
    name, picture, text = train(model, {"method": method}).args
    assert (folder / name).is_file()
    assert picture.shape[0] == 1 and picture.shape[3] == 3
    assert f"saved as {name}" in text

    artefact = host.module("cache_core").read_artefact(folder / name)
    loader = host.module("nodes.l2c_router_loader")
    policy = loader.make_policy(artefact, {"threshold": "from file"})
    binding = host.module("nodes.host")
    cached = binding.attach(model, binding.CacheBinding(policy, 0.0, 1.0))
    real.sample(cached, steps=4)
    found = report(cached)
    assert found.notes == ()
    assert found.refresh_ratio == pytest.approx(artefact.measured["refresh_ratio"])
    assert found.refresh_ratio == pytest.approx(0.6, abs=0.02)


def test_the_file_says_how_it_was_made(host: real.Host, folder: Path, train: Callable[..., Any]) -> None:
    name = train(loaded()).args[0]
    artefact = host.module("cache_core").read_artefact(folder / name)
    assert artefact.sampling.scheduler == "simple"
    assert artefact.sampling.num_steps == 4
    assert artefact.made["num_prompts"] == 2
    assert artefact.made["states"] == "own samplings"
    assert artefact.made["wanted_refresh_ratio"] == 0.6


def test_a_stopped_training_is_gone_on_with_and_ends_as_if_it_had_not_been(
    host: real.Host, folder: Path, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy.model_management import InterruptProcessingException

    node = host.module("nodes.cache_router_trainer")

    def stop(iterations: int) -> Any:
        def on_progress(progress: Any, trainer: Any) -> None:
            if progress.iteration == 1:
                raise InterruptProcessingException

        return on_progress

    with monkeypatch.context() as patch:
        patch.setattr(node, "_live", stop)
        with pytest.raises(InterruptProcessingException):
            train(loaded(), file_name="stopped")
    assert [path.name for path in folder.iterdir()] == ["stopped.training"]
    train(loaded(), file_name="stopped")
    train(loaded(), file_name="whole")
    assert sorted(path.name for path in folder.iterdir()) == ["stopped.safetensors", "whole.safetensors"]
    read = host.module("cache_core").read_artefact
    scores = [read(folder / f"{name}.safetensors").tensors["score"] for name in ("stopped", "whole")]
    assert torch.equal(*scores)


def test_clean_pictures_are_learned_from(host: real.Host, folder: Path, train: Callable[..., Any]) -> None:
    model = loaded()
    clean = {"samples": torch.randn(3, *real.latent_shape(model))}
    name = train(model, {"method": "learning_to_cache"}, clean_images=clean).args[0]
    artefact = host.module("cache_core").read_artefact(folder / name)
    assert artefact.made["states"] == "clean pictures"


@pytest.mark.parametrize(
    ("method", "inputs", "text"),
    [
        ({"method": "learning_to_cache"}, {"steps": 5}, "5 steps, expected an even number"),
        ({"method": "learning_to_cache", "refresh_ratio": 0.4}, {}, "reuses at most 50%"),
        ({}, {"positive": []}, "'positive' holds no prompt"),
        ({"method": "scale_shift"}, {}, "needs a change profile"),
        ({"refresh_ratio": 1.5}, {}, "'refresh_ratio' is 1.5"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    host: real.Host,
    folder: Path,
    train: Callable[..., Any],
    method: dict[str, Any],
    inputs: dict[str, Any],
    text: str,
) -> None:
    with pytest.raises(host.module("cache_core").CacheError, match=text):
        train(loaded(), method, **inputs)
    assert not list(folder.iterdir())


def test_a_cached_model_is_refused(
    host: real.Host, train: Callable[..., Any], cached: Callable[..., Any]
) -> None:
    with pytest.raises(host.module("cache_core").CacheError, match="carries a cache"):
        train(cached(loaded()))


def quantised() -> Any:
    """Return a tiny Flux some of whose weights ComfyUI holds in its own format of 8 bits."""
    import comfy.quant_ops
    import comfy.sd

    if not getattr(comfy.quant_ops, "_CK_AVAILABLE", False):
        pytest.skip("this host has no quantised tensors")
    network = real.network_of(real.random_flux())
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    for name in [name for name in weights if name.endswith(("mlp.0.weight", "linear1.weight"))]:
        layer, scale = name.removesuffix("weight"), weights[name].abs().max() / 448
        weights[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
        weights[f"{layer}weight_scale"] = scale
        conf = b'{"format": "float8_e4m3fn"}'
        weights[f"{layer}comfy_quant"] = torch.tensor(list(conf), dtype=torch.uint8)
    model = comfy.sd.load_diffusion_model_state_dict(weights)
    if type(real.network_of(model).single_blocks[0].linear1.weight) is torch.nn.Parameter:
        pytest.skip("this host does not know the format")
    return model


def test_a_quantised_model_is_refused_before_the_first_call(
    host: real.Host, train: Callable[..., Any]
) -> None:
    with pytest.raises(
        host.module("cache_core").CacheError, match=r"quantised formats do: its weight .*QuantizedTensor"
    ):
        train(loaded(quantised))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"positive": real.conditioning(5)}, r"\(prompts: 2 \(\w+\) there, 1 \(\w+\) here\)"),
        ({"positive": [*real.conditioning(1), *real.conditioning(4)]}, r"\(prompts: 2 \("),
        ({"negative": real.conditioning(5)}, r"\(negative prompt: \w+ there"),
        ({"model": 1}, r"\(weights: \w+ there"),
        ({"model": "LoRA"}, r"\(LoRAs: \w+ there"),
    ],
)
def test_a_saved_training_of_another_model_or_prompt_is_refused(
    host: real.Host, folder: Path, train: Callable[..., Any], changed: dict[str, Any], text: str
) -> None:
    core, node = host.module("cache_core"), host.module("nodes.router_training")
    seen: list[Any] = []

    def saved_only(trainer: Any, *args: Any) -> None:
        seen.append(trainer)
        trainer._resume()
        trainer._save(trainer._state())
        raise KeyboardInterrupt

    model = changed.get("model")
    other = loaded(lambda: real.random_flux(seed=model if isinstance(model, int) else 0))
    if model == "LoRA":
        other = other.clone()
        other.add_patches({"diffusion_model.img_in.weight": (torch.ones(128, 64),)}, 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node.Trainer, "run", saved_only)
        with pytest.raises(KeyboardInterrupt):
            train(loaded(), file_name="one")
        with pytest.raises(KeyboardInterrupt):
            train(loaded(), file_name="one")
        with pytest.raises(core.CacheError, match=text):
            train(other, file_name="one", **{k: v for k, v in changed.items() if k != "model"})


def test_too_little_memory_is_refused_with_what_is_needed(
    host: real.Host, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host.module("nodes.router_training"), "free_bytes", lambda model: 1000)
    with pytest.raises(
        host.module("cache_core").CacheError, match=r"Training needs about .* beside the weights"
    ):
        train(loaded())


@pytest.mark.parametrize("method", ["harmonica", "learning_to_cache"])
def test_a_router_that_was_trained_for_a_speed_does_the_work_that_leaves_it(
    host: real.Host,
    folder: Path,
    train: Callable[..., Any],
    report: Callable[[Any], Any],
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    node = host.module("nodes.cache_router_trainer")
    monkeypatch.setattr(node, "_live", lambda iterations: lambda progress, trainer: seen.append(trainer))
    model = loaded()
    asked = {"method": method, "refresh_ratio": 0.75, "speedup": 1.1}
    name = train(model, asked, steps=6, cfg=2.0, iterations=1).args[0]
    costs = seen[0].training.costs
    # Of a double block both streams' attention is one piece of work.
    assert [len(sites) for sites, _ in costs.shared] == [2, 2]

    artefact = host.module("cache_core").read_artefact(folder / name)
    policy = host.module("nodes.l2c_router_loader").make_policy(artefact, {"threshold": "from file"})
    binding = host.module("nodes.host")
    cached = binding.attach(model, binding.CacheBinding(policy, 0.0, 1.0))
    real.sample(cached, steps=6, cfg=2.0)
    computed = torch.tensor([call.computed for call in report(cached).calls]) > 0
    # Times are those that were measured: the run's own would make this a test of the machine.
    assert costs.ratio(computed) == pytest.approx(artefact.measured["cost_ratio"])
    assert costs.ratio(computed) == pytest.approx(costs.ratio_at(1.1), abs=0.02)
    assert artefact.measured["ideal_speedup"] == pytest.approx(1.1, abs=0.03)
    assert artefact.made["wanted_speedup"] == 1.1

"""The node CacheScheduleSearch on tiny real models, and what its file does in FeatureCache."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import real
import torch

import cache_core

MODELS: dict[str, Callable[..., Any]] = {
    "flux": real.random_flux,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}


@pytest.fixture
def folder(host: real.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder that new artefacts are written to, and that the host looks for artefacts in."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    paths, extensions = folder_paths.folder_names_and_paths["feature_cache"]
    entry = ([*paths, str(tmp_path / "feature_cache")], extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "feature_cache", entry)
    return tmp_path / "feature_cache"


@pytest.fixture
def search(host: real.Host, folder: Path) -> Callable[..., Any]:
    """Return a function that does what the node does: it gives (file name, picture, text)."""

    def run(model: Any, **changes: Any) -> tuple[str, torch.Tensor, str]:
        inputs = {
            "positive": real.conditioning(1),
            "negative": real.conditioning(2),
            "latent_image": {"samples": torch.zeros(1, *real.latent_shape(model))},
            "steps": 8,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
            "seed": 1,
            "num_seeds": 1,
            "speedup": 2.0,
            "tries": 5,
            "minutes": 10.0,
            "order": 2,
            "trust": "auto",
            "file_name": "",
        }
        with torch.inference_mode():
            return host.nodes["CacheScheduleSearch"].execute(model, **(inputs | changes)).args

    return run


def _load(host: real.Host, model: Any, artefact: str, **settings: Any) -> Any:
    values = {"method": "step_list", **settings}
    return host.nodes["FeatureCache"].execute(model, values, 0.0, 1.0, artefact=artefact)[0]


def _listed(artefact: Any) -> list[int]:
    steps: list[int] = artefact.tensors["compute"][:, 0].nonzero().flatten().tolist()
    return steps


def _full(run: Any) -> list[int]:
    return [call.index for call in run.calls if call.full]


@pytest.mark.parametrize("family", MODELS)
def test_the_list_that_was_found_is_followed(
    host: real.Host, folder: Path, search: Callable[..., Any], report: Callable[[Any], Any], family: str
) -> None:
    plain = MODELS[family]()
    name, picture, text = search(plain)
    artefact = cache_core.read_artefact(folder / name)
    model = _load(host, plain, name)
    real.sample(model, steps=8, cfg=4.0)
    run = report(model)
    assert _full(run) == _listed(artefact)
    assert len(_full(run)) == 4
    assert (run.level, run.notes) == ("model", ())
    assert (picture.ndim, picture.shape[-1]) == (4, 3)
    assert f"saved as {name}" in text


def test_the_error_that_is_predicted_is_that_of_the_next_seed(
    host: real.Host, folder: Path, search: Callable[..., Any]
) -> None:
    plain = real.random_flux()
    name, _, text = search(plain, seed=4, num_seeds=2)
    artefact = cache_core.read_artefact(folder / name)
    uncached = real.sample(plain, steps=8, cfg=4.0, seed=6)

    def error(latents: torch.Tensor) -> float:
        return float((latents - uncached).norm() / uncached.norm())

    cached = real.sample(_load(host, plain, name), steps=8, cfg=4.0, seed=6)
    assert artefact.measured["error_found"] == pytest.approx(error(cached), rel=1e-4)
    fewer = real.sample(plain, steps=4, cfg=4.0, seed=6)
    assert artefact.measured["error_fewer_steps"] == pytest.approx(error(fewer), rel=1e-4)
    rule = real.sample(_load(host, plain, "none", speedup=2.0), steps=8, cfg=4.0, seed=6)
    assert artefact.measured["error_rule"] == pytest.approx(error(rule), rel=1e-4)
    assert "4 plain steps" in text and "the default rule" in text and "even spacing" in text


class Decoder:
    """Stands in for a VAE: the first three channels, as a picture."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return (B, H, W, 3) in [0, 1]."""
        return torch.sigmoid(latents[:, :3].movedim(1, -1))


def test_with_a_vae_pictures_are_compared(folder: Path, search: Callable[..., Any]) -> None:
    plain, vae = real.random_flux(), Decoder()
    name, _, text = search(plain, vae=vae, seed=4, num_seeds=1, steps=8)
    artefact = cache_core.read_artefact(folder / name)
    uncached, fewer = (vae.decode(real.sample(plain, steps=steps, cfg=4.0, seed=5)) for steps in (8, 4))
    error = float((fewer - uncached).square().mean().sqrt())
    assert artefact.measured["error_fewer_steps"] == pytest.approx(error, rel=1e-4)
    assert artefact.made["compared"] == "pictures"
    assert f"4 plain steps: PSNR {-20 * math.log10(error):.1f} dB" in text


def test_the_file_says_how_it_was_made(folder: Path, search: Callable[..., Any]) -> None:
    name, _, _ = search(real.random_flux(), file_name="mine", sampler_name="dpmpp_2m", order=1, trust="half")
    artefact = cache_core.read_artefact(folder / "mine.safetensors")
    assert name == "mine.safetensors"
    assert (artefact.kind, artefact.method) == (cache_core.Kind.STEPS, "step_list")
    assert str(artefact.sampling) == "8 steps, dpmpp_2m, simple, cfg 4, 64 x 64"
    made = artefact.made
    assert (made["order"], made["trust"], made["tries"], made["stopped"]) == (1, "half", 5, False)
    assert artefact.measured["error_when_searched"] > 0


def test_search_is_never_worse_than_the_rule_on_what_it_saw(
    host: real.Host, folder: Path, search: Callable[..., Any]
) -> None:
    plain = real.random_flux()
    name, _, _ = search(plain, seed=2)
    artefact = cache_core.read_artefact(folder / name)
    uncached = real.sample(plain, steps=8, cfg=4.0, seed=2)
    rule = real.sample(_load(host, plain, "none", speedup=2.0), steps=8, cfg=4.0, seed=2)
    error = float((rule - uncached).norm() / uncached.norm())
    assert artefact.measured["error_when_searched"] <= error * 1.0001


def test_heuns_steps_are_searched_with_both_their_calls(
    host: real.Host, folder: Path, search: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    plain = real.random_flux()
    name, _, _ = search(plain, sampler_name="heun", tries=2)
    listed = _listed(cache_core.read_artefact(folder / name))
    model = _load(host, plain, name)
    real.sample(model, steps=8, cfg=4.0, sampler="heun")
    assert _full(report(model)) == [call for step in listed for call in (2 * step, 2 * step + 1) if call < 15]


def test_searching_leaves_the_model_alone(search: Callable[..., Any]) -> None:
    plain = real.random_flux()
    before = real.sample(plain)
    search(plain)
    assert plain.wrappers == {}
    assert real.instance_forwards(plain) == []
    assert torch.equal(real.sample(plain), before)


def test_time_that_is_up_ends_the_search(folder: Path, search: Callable[..., Any]) -> None:
    name, _, _ = search(real.random_flux(), tries=50, minutes=0.0)
    assert cache_core.read_artefact(folder / name).made["tries"] == 1


def test_a_stopped_search_keeps_its_best_list(
    host: real.Host, folder: Path, search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy.model_management import InterruptProcessingException

    def stop(self: Any, progress: Any) -> None:
        if progress.search is not None and len(progress.search.tries) == 2:
            raise InterruptProcessingException

    monkeypatch.setattr(host.module("nodes.schedule_search")._Live, "__call__", stop)
    with pytest.raises(InterruptProcessingException):
        search(real.random_flux(), file_name="stopped")
    artefact = cache_core.read_artefact(folder / "stopped.safetensors")
    assert (artefact.made["stopped"], artefact.made["tries"]) == (True, 2)
    assert len(_listed(artefact)) == 4


def test_a_search_stopped_before_its_first_list_leaves_nothing(
    host: real.Host, folder: Path, search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy.model_management import InterruptProcessingException

    def stop(self: Any, progress: Any) -> None:
        raise InterruptProcessingException

    monkeypatch.setattr(host.module("nodes.schedule_search")._Live, "__call__", stop)
    with pytest.raises(InterruptProcessingException):
        search(real.random_flux())
    assert list(folder.glob("*")) == []


def test_progress_reaches_its_end_and_shows_a_picture(
    search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.utils

    seen: list[tuple[int, int, bool]] = []
    monkeypatch.setattr(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda at, of, preview, node_id=None: seen.append((at, of, preview is not None)),
    )
    search(real.random_flux())
    # One picture: uncached and five lists; on the other seed at most as much as was reserved.
    assert {of for _, of, _ in seen} == {8 * (6 + 5)}
    assert 8 * 6 < seen[-1][0] <= 8 * (6 + 5)
    assert any(has_picture for *_, has_picture in seen)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("searches", ["blocks", "modules"])
def test_the_mask_that_was_found_is_followed_at_the_promised_cost(
    host: real.Host,
    folder: Path,
    search: Callable[..., Any],
    report: Callable[[Any], Any],
    family: str,
    searches: str,
) -> None:
    plain = MODELS[family]()
    name, picture, text = search(plain, searches=searches, tries=4)
    artefact = cache_core.read_artefact(folder / name)
    assert (artefact.kind, artefact.method) == (cache_core.Kind.MASK, "mask")
    assert artefact.architecture.level.value == searches.removesuffix("s")
    model = host.nodes["L2CRouterLoader"].execute(plain, name, {"threshold": "from file"}, 0.0, 1.0)[0]
    real.sample(model, steps=8, cfg=4.0)
    run = report(model)
    assert run.refresh_ratio == pytest.approx(artefact.measured["refresh_ratio"])
    assert f"(refresh ratio {run.refresh_ratio:.3f})" in text
    assert artefact.measured["cost_ratio"] <= 0.5 + 1e-9
    assert (run.level, run.notes) == (artefact.architecture.level.value, ())
    is_same = len({tuple(column) for column in artefact.tensors["compute"].T.tolist()}) == 1
    assert f"steps of the {searches}: {'the same' if is_same else 'their own'}" in text
    assert (picture.ndim, picture.shape[-1]) == (4, 3)


def test_a_mask_is_compared_with_fora_a_step_list_and_fewer_steps_on_the_next_seed(
    host: real.Host, folder: Path, search: Callable[..., Any]
) -> None:
    plain = real.random_flux()
    name, _, text = search(plain, searches="modules", seed=4, num_seeds=2, tries=2)
    artefact = cache_core.read_artefact(folder / name)
    uncached = real.sample(plain, steps=8, cfg=4.0, seed=6)
    fora = {"method": "fora", "interval": 2, "level": "module", "anchor": "start"}
    listed = {"method": "step_list", "speedup": 2.0}
    for key, method in (("fora", fora), ("step_list", listed)):
        model = host.nodes["FeatureCache"].execute(plain, method, 0.0, 1.0)[0]
        cached = real.sample(model, steps=8, cfg=4.0, seed=6)
        error = float((cached - uncached).norm() / uncached.norm())
        assert artefact.measured[f"error_{key}"] == pytest.approx(error, rel=1e-4)
    assert {"error_found", "error_fewer_steps"} <= artefact.measured.keys()
    assert "this mask" in text and "is nearer than" in text


def test_a_stopped_mask_search_keeps_its_best_mask(
    host: real.Host, folder: Path, search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy.model_management import InterruptProcessingException

    def stop(self: Any, progress: Any) -> None:
        if progress.num_tries == 1:
            raise InterruptProcessingException

    monkeypatch.setattr(host.module("nodes.schedule_search")._Live, "__call__", stop)
    with pytest.raises(InterruptProcessingException):
        search(real.random_pixart(), searches="blocks", file_name="stopped")
    artefact = cache_core.read_artefact(folder / "stopped.safetensors")
    assert (artefact.made["stopped"], artefact.made["tries"]) == (True, 1)
    assert artefact.measured["cost_ratio"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"positive": []}, "'positive' holds no prompt"),
        ({"speedup": 1.05}, "leaves 8 full ones"),
        ({"speedup": 8.0}, "leaves 1 full ones"),
        ({"sampler_name": "dpm_adaptive"}, "'sampler_name' is 'dpm_adaptive'"),
        ({"order": 3}, "'order' is 3"),
        ({"file_name": "../x"}, r"'\.\./x' is no name for an artefact"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    folder: Path, search: Callable[..., Any], inputs: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        search(real.random_flux(), **inputs)
    assert list(folder.glob("*")) == []


def test_a_cached_model_is_refused(search: Callable[..., Any], cached: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="already carries a cache"):
        search(cached(real.random_flux()))


def test_a_missing_list_is_named_with_what_makes_it(host: real.Host) -> None:
    with pytest.raises(ValueError, match=r"'gone.safetensors' is not here.*Feature Cache Schedule Search"):
        _load(host, real.random_flux(), "gone.safetensors")


def test_a_list_for_another_model_is_refused(
    host: real.Host, folder: Path, search: Callable[..., Any]
) -> None:
    name, _, _ = search(real.random_pixart(), tries=1)
    with pytest.raises(ValueError, match="is for the family 'pixart', this MODEL is 'flux'"):
        _load(host, real.random_flux(), name)


def test_lists_are_offered_to_feature_cache(
    host: real.Host, folder: Path, search: Callable[..., Any]
) -> None:
    name, _, _ = search(real.random_flux(), tries=1)
    assert host.nodes["FeatureCache"].INPUT_TYPES()["optional"]["artefact"][1]["options"] == ["none", name]


def test_other_steps_stretch_the_list_and_are_told(
    host: real.Host, folder: Path, search: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    plain = real.random_flux()
    name, _, _ = search(plain, tries=1)
    model = _load(host, plain, name)
    real.sample(model, steps=12, cfg=4.0)
    run = report(model)
    assert len(_full(run)) == 6
    assert any("stretched over the 12 steps of this run" in note for note in run.notes)

"""The node `FeatureCacheCalibrate` and what its file does in `FeatureCache`, in the real host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import pytest
import real
import torch

import cache_core

MODELS: dict[str, Callable[..., Any]] = {
    "flux": real.random_flux,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}
PROFILE = {"what": "block_caching", "delta": 0.5}


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
def calibrate(host: real.Host, folder: Path) -> Callable[..., Any]:
    """Return a function that does what the node does: it gives (file name, picture, text)."""

    def run(model: Any, what: dict[str, Any] | None = None, **changes: Any) -> tuple[str, torch.Tensor, str]:
        inputs = {
            "positive": real.conditioning(1),
            "negative": real.conditioning(2),
            "latent_image": {"samples": torch.zeros(1, *real.latent_shape(model))},
            "steps": 6,
            "cfg": 1.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
            "seed": 1,
            "num_seeds": 1,
            "prompts": "one run each",
            "file_name": "",
        }
        with torch.inference_mode():
            done = host.nodes["FeatureCacheCalibrate"].execute(
                model=model, what=what or PROFILE, **(inputs | changes)
            )
        return done.args

    return run


@pytest.fixture
def load(host: real.Host) -> Callable[..., Any]:
    """Return a function that does what FeatureCache does with a file."""

    def cached(
        model: Any, artefact: str, delta: float = 0.5, method: str = "block_caching", **others: Any
    ) -> Any:
        values = {"method": method, "delta": delta}
        return (
            host.nodes["FeatureCache"].execute(model, values, 0.0, 1.0, artefact=artefact, **others).args[0]
        )

    return cached


def _save(folder: Path, model: Any, profile: torch.Tensor, **tensors: torch.Tensor) -> str:
    """Write a hand-made profile (T, S) or (T, 1) for a MODEL."""
    network = real.network_of(model)
    adapter = cache_core.find_adapter(network)(network)
    architecture = cache_core.fingerprint(adapter, cache_core.Level.BLOCK)
    artefact = cache_core.Artefact(
        kind=cache_core.Kind.PROFILE,
        method="block_caching",
        architecture=architecture,
        sampling=cache_core.Sampling(num_steps=len(profile)),
        tensors={"profile": profile.expand(-1, len(architecture.sites)).clone(), **tensors},
    )
    cache_core.write_artefact(artefact, folder / "made.safetensors")
    return "made.safetensors"


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_refresh_ratio_is_the_predicted_one(
    calibrate: Callable[..., Any],
    load: Callable[..., Any],
    report: Callable[[Any], Any],
    folder: Path,
    family: str,
    share: float,
) -> None:
    plain = MODELS[family]()
    name, _, _ = calibrate(plain)
    delta = cache_core.read_artefact(folder / name).measured[f"delta_at_reuse_{share:g}"]
    _, _, text = calibrate(plain, {"what": "block_caching", "delta": delta})
    model = load(plain, name, delta)
    real.sample(model)
    run = report(model)
    assert f"(refresh ratio {run.refresh_ratio:.3f})" in text
    assert run.num_reused >= share * (run.num_reused + run.num_computed)
    assert (run.level, run.notes) == ("block", ())


def test_heuns_calls_are_predicted_too(
    calibrate: Callable[..., Any], load: Callable[..., Any], report: Callable[[Any], Any], flux: Any
) -> None:
    name, _, text = calibrate(flux, {"what": "block_caching", "delta": 2.0}, sampler_name="heun", cfg=4.0)
    model = load(flux, name, 2.0)
    real.sample(model, sampler="heun", cfg=4.0)
    assert len(report(model).calls) == 11
    assert 0 < report(model).refresh_ratio < 1
    assert f"(refresh ratio {report(model).refresh_ratio:.3f})" in text


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_profile_equals_what_independent_hooks_measure(
    calibrate: Callable[..., Any], folder: Path, family: str, cfg: float
) -> None:
    plain = MODELS[family]()
    name, _, _ = calibrate(plain, cfg=cfg)
    profile = cache_core.read_artefact(folder / name).tensors["profile"]
    with oracle.residuals(family, real.network_of(plain)) as calls:
        real.sample(plain, cfg=cfg)
    expected = torch.zeros_like(profile)
    for step in range(1, 6):
        for column, (before, now) in enumerate(zip(calls[step - 1], calls[step], strict=True)):
            pairs = list(zip(now, before, strict=True))
            branches = range(len(pairs[0][0]))
            ratios = [
                sum(float((a[i] - b[i]).abs().sum()) for a, b in pairs)
                / sum(float(a[i].abs().sum()) for a, _ in pairs)
                for i in branches
            ]
            expected[step, column] = sum(ratios) / len(ratios)
    torch.testing.assert_close(profile, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", MODELS)
def test_delta_zero_is_bit_identical_and_routes_every_site(
    load: Callable[..., Any], report: Callable[[Any], Any], folder: Path, family: str
) -> None:
    plain = MODELS[family]()
    model = load(plain, _save(folder, plain, torch.zeros(6, 1)), 0.0)
    assert torch.equal(real.sample(model, cfg=4.0), real.sample(plain, cfg=4.0))
    assert (report(model).num_reused, report(model).num_computed) == (0, 6 * len(report(model).sites) * 2)


@pytest.mark.parametrize("family", MODELS)
def test_reuse_equals_an_independent_oracle(load: Callable[..., Any], folder: Path, family: str) -> None:
    """Blocks are computed out of step: block i in step 0 and every step whose number is divisible by i + 2."""
    plain = MODELS[family]()
    blocks = len(oracle.blocks(family, real.network_of(plain)))
    compute = torch.tensor([[step % (block + 2) == 0 for block in range(blocks)] for step in range(6)])
    actual = real.sample(load(plain, _save(folder, plain, compute.float())), cfg=4.0)
    with oracle.block_schedule(family, real.network_of(plain), compute):
        expected = real.sample(plain, cfg=4.0)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert not torch.allclose(actual, real.sample(plain, cfg=4.0), rtol=1e-3)


def test_an_adjustment_is_applied_to_what_is_reused(
    load: Callable[..., Any], folder: Path, flux: Any
) -> None:
    """gamma -1 and beta 0 on every block is what a network without blocks would make; gamma 0 changes nothing."""
    sites = [f"double_blocks.{i}.residual.{k}" for i in range(2) for k in range(2)]
    sites += [f"single_blocks.{i}.residual.0" for i in range(3)]
    profile, zeros = torch.zeros(6, 1), torch.zeros(6, 128)

    def sample(gamma: float) -> torch.Tensor:
        adjustment = {
            f"{part}.{site}": zeros + (gamma if part == "scale" else 0)
            for site in sites
            for part in ("scale", "shift")
        }
        name = _save(folder, flux, profile, **adjustment)
        picture: torch.Tensor = real.sample(load(flux, name))
        (folder / name).unlink()
        return picture

    bare = real.sample(load(flux, _save(folder, flux, profile)))
    (folder / "made.safetensors").unlink()
    assert torch.equal(sample(0.0), bare)
    with oracle.without_residuals(real.network_of(flux), {0}):
        expected = real.sample(flux)
    torch.testing.assert_close(sample(-1.0), expected, rtol=1e-4, atol=1e-4)


def test_calibrating_leaves_the_model_alone(calibrate: Callable[..., Any], flux: Any) -> None:
    before = real.sample(flux)
    calibrate(flux)
    assert flux.wrappers == {}
    assert real.instance_forwards(flux) == []
    assert torch.equal(real.sample(flux), before)


def test_every_prompt_is_sampled_with_every_seed(
    calibrate: Callable[..., Any], folder: Path, flux: Any, host: real.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncached, runs = host.module("nodes.calibrate"), []
    original = uncached.sample

    def spy(
        model: Any, settings: Any, positive: Any, negative: Any, latent: Any, seed: int, on_step: Any
    ) -> None:
        runs.append(([float(text.sum()) for text, _ in positive], seed))
        original(model, settings, positive, negative, latent, seed, on_step)

    monkeypatch.setattr(uncached, "sample", spy)
    prompts = real.conditioning(1) + real.conditioning(3)
    sums = [float(text.sum()) for text, _ in prompts]
    name, _, text = calibrate(flux, positive=prompts, num_seeds=2, seed=5)
    assert runs == [([sums[0]], 5), ([sums[0]], 6), ([sums[1]], 5), ([sums[1]], 6)]
    made = cache_core.read_artefact(folder / name).made
    assert made == {"num_prompts": 2, "num_seeds": 2, "first_seed": 5, "num_runs": 4, "denoise": 1.0}
    assert "4 runs in" in text
    runs.clear()
    calibrate(flux, positive=prompts, prompts="all in one run")
    assert runs == [(sums, 1)]


def test_the_profile_is_the_mean_of_the_runs(calibrate: Callable[..., Any], folder: Path, flux: Any) -> None:
    def profile(**inputs: Any) -> torch.Tensor:
        return cache_core.read_artefact(folder / calibrate(flux, **inputs)[0]).tensors["profile"]

    mean = (profile(seed=1) + profile(seed=2)) / 2
    torch.testing.assert_close(profile(seed=1, num_seeds=2), mean, rtol=1e-5, atol=1e-6)


def test_the_file_says_what_it_was_made_for(calibrate: Callable[..., Any], folder: Path, flux: Any) -> None:
    name, picture, text = calibrate(flux, steps=4, cfg=4.0, sampler_name="ddim", file_name="my own")
    artefact = cache_core.read_artefact(folder / name)
    assert (name, artefact.kind, artefact.method) == (
        "my own.safetensors",
        cache_core.Kind.PROFILE,
        "block_caching",
    )
    # `ddim` is Euler's function under another name; a run says the function's.
    assert str(artefact.sampling) == "4 steps, euler, simple, cfg 4, 64 x 64"
    assert len(artefact.sampling.sigmas) == 5
    assert (picture.ndim, picture.shape[-1], picture.dtype) == (4, 3, torch.float32)
    assert text.startswith("saved as my own.safetensors\ndelta 0.5 computes")


def test_a_file_is_never_replaced(calibrate: Callable[..., Any], folder: Path, flux: Any) -> None:
    names = [calibrate(flux)[0], calibrate(flux)[0]]
    stem = "block_caching_flux_6_euler_simple"
    assert names == [f"{stem}.safetensors", f"{stem}_2.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_a_bad_file_name_is_refused_before_sampling(
    calibrate: Callable[..., Any], flux: Any, host: real.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host.module("nodes.calibrate"), "sample", lambda *args: pytest.fail("it sampled"))
    with pytest.raises(ValueError, match=r"'\.\./x' is no name for an artefact"):
        calibrate(flux, file_name="../x")


def test_an_interrupt_leaves_nothing_half_written(
    calibrate: Callable[..., Any], folder: Path, flux: Any
) -> None:
    import comfy.model_management as management

    calls: list[int] = []

    def interrupt(x: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 9:
            management.interrupt_current_processing()
        return x

    patched = flux.clone()
    patched.set_model_unet_function_wrapper(
        lambda apply, given: interrupt(apply(given["input"], given["timestep"], **given["c"]))
    )
    with pytest.raises(management.InterruptProcessingException):
        calibrate(patched, num_seeds=3)
    assert len(calls) == 9
    assert list(folder.glob("*")) == []
    assert real.instance_forwards(flux) == []


def test_progress_counts_the_steps_of_all_runs(
    calibrate: Callable[..., Any], flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.utils

    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda at, of, preview, node_id=None: seen.append((at, of))
    )
    calibrate(flux, num_seeds=2)
    # The host leaves out what comes too fast.
    assert seen[-1] == (12, 12)
    assert seen == sorted(set(seen))


def test_a_cached_model_is_refused(
    calibrate: Callable[..., Any], cached: Callable[..., Any], flux: Any
) -> None:
    with pytest.raises(ValueError, match="already carries a cache"):
        calibrate(cached(flux))


def test_no_prompt_is_refused(calibrate: Callable[..., Any], flux: Any) -> None:
    with pytest.raises(ValueError, match="'positive' holds no prompt"):
        calibrate(flux, positive=[])


def test_a_method_without_its_file_names_the_node_that_makes_it(load: Callable[..., Any], flux: Any) -> None:
    with pytest.raises(
        ValueError, match=r"'block_caching' needs a file, and 'artefact' is 'none'.*Feature Cache Calibrate"
    ):
        load(flux, "none")


def test_a_file_for_a_method_that_takes_none_is_refused(
    load: Callable[..., Any], folder: Path, flux: Any
) -> None:
    name = _save(folder, flux, torch.zeros(6, 1))
    with pytest.raises(
        ValueError, match=r"'made.safetensors', but the method 'fora' takes no file. Set it to 'none'"
    ):
        load(flux, name, method="fora")


def test_a_missing_file_is_named_with_what_makes_it(
    host: real.Host, load: Callable[..., Any], flux: Any
) -> None:
    with pytest.raises(
        ValueError, match=r"'gone.safetensors' is not here. It was made for: Flux, 20 steps.*Calibrate"
    ):
        load(flux, "gone.safetensors", made_for="Flux, 20 steps")
    node = host.nodes["FeatureCache"]
    assert "'gone.safetensors' is not here" in node.validate_inputs("gone.safetensors")
    assert node.validate_inputs("none") is True
    assert node.validate_inputs() is True


def test_a_file_for_another_model_is_refused(load: Callable[..., Any], folder: Path, flux: Any) -> None:
    name = _save(folder, real.random_pixart(), torch.zeros(6, 1))
    with pytest.raises(ValueError, match="is for the family 'pixart', this MODEL is 'flux'"):
        load(flux, name)


def test_only_files_that_a_method_takes_are_offered(host: real.Host, folder: Path, flux: Any) -> None:
    name = _save(folder, flux, torch.zeros(6, 1))
    (folder / "broken.safetensors").write_bytes(b"x")
    optional = host.nodes["FeatureCache"].INPUT_TYPES()["optional"]
    assert optional["artefact"][1]["options"] == ["none", name]
    told = optional["artefact"][1]["made_for"]
    assert list(told) == [name] and told[name].startswith("flux (")


def test_a_changed_file_runs_the_node_again(host: real.Host, folder: Path, flux: Any) -> None:
    node = host.nodes["FeatureCache"]
    assert node.fingerprint_inputs(model=None) is None
    name = _save(folder, flux, torch.zeros(6, 1))
    first = node.fingerprint_inputs(artefact=name, model=None)
    (folder / name).unlink()
    _save(folder, flux, torch.zeros(7, 1))
    assert node.fingerprint_inputs(artefact=name) not in (None, first)

"""The node `ErrorOptimizer` on top of every node that makes a cache, in the real host."""

from __future__ import annotations

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
LEVELS = ["module", "block", "stack", "model"]
GOC = {"correction": "gradient_optimized", "eta": 1.0, "reach": "per call", "steps": "all"}
EOC = {"correction": "error_optimized", "theta": 1.0, "magnitude": 0.0, "trend": 0.01, "form": "additive"}
OFF = [GOC | {"eta": 0.0}, EOC | {"theta": 0.0}]


@pytest.fixture
def folder(host: real.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder that new artefacts are written to, and that the host looks for artefacts in."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    paths, extensions = folder_paths.folder_names_and_paths["feature_cache"]
    entry = ([*paths, str(tmp_path / "feature_cache")], extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "feature_cache", entry)
    # The host would go on listing what it has seen in a folder that is gone.
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path / "feature_cache"


@pytest.fixture
def calibrate(host: real.Host, folder: Path) -> Callable[..., str]:
    """Return a function that makes a prior with the node and gives the file's name."""

    def run(model: Any, level: str = "module", **changes: Any) -> str:
        inputs = {
            "positive": real.conditioning(1),
            "negative": real.conditioning(2),
            "latent_image": {"samples": torch.zeros(1, *real.latent_shape(model))},
            "what": {"what": "prior", "level": level, "budget_mb": 64},
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
            done = host.nodes["FeatureCacheCalibrate"].execute(model=model, **(inputs | changes))
        return str(done.args[0])

    return run


@pytest.fixture
def correct(host: real.Host) -> Callable[..., Any]:
    """Return a function that does what the node does."""

    def corrected(model: Any, correction: dict[str, Any], **others: Any) -> Any:
        return host.nodes["ErrorOptimizer"].execute(model, correction, **others).args[0]

    return corrected


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("level", LEVELS)
def test_off_is_bit_identical_to_the_bare_method(
    cached: Callable[..., Any],
    correct: Callable[..., Any],
    calibrate: Callable[..., str],
    family: str,
    level: str,
) -> None:
    plain = MODELS[family]()
    model = cached(plain, interval=2, level=level)
    expected = real.sample(model, cfg=4.0)
    for values in OFF:
        files = {"artefact": calibrate(plain, level)} if values["correction"] == "error_optimized" else {}
        assert torch.equal(real.sample(correct(model, values, **files), cfg=4.0), expected)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("values", [GOC, EOC], ids=["goc", "eoc"])
def test_what_is_computed_stays_and_what_is_reused_is_corrected(
    cached: Callable[..., Any],
    correct: Callable[..., Any],
    calibrate: Callable[..., str],
    report: Callable[[Any], Any],
    family: str,
    level: str,
    values: dict[str, Any],
) -> None:
    plain = MODELS[family]()
    bare = cached(plain, interval=2, anchor="start", level=level)
    files = {"artefact": calibrate(plain, level)} if values is EOC else {}
    model = correct(bare, values, **files)
    expected, actual = real.sample(bare), real.sample(model)
    assert not torch.equal(actual, expected)
    assert actual.isfinite().all()
    assert report(model).refresh_ratio == report(bare).refresh_ratio == 0.5
    assert (report(model).end_bytes, report(model).notes) == (0, ())
    assert report(model).peak_bytes == report(bare).peak_bytes * (2 if values is GOC else 1)
    assert torch.equal(real.sample(bare), expected), "the cache in front keeps its own policy"


def test_the_prior_of_a_run_makes_its_output_exact(
    cached: Callable[..., Any], correct: Callable[..., Any], calibrate: Callable[..., str], flux: Any
) -> None:
    """At level model without guidance, the average of one run is that run: reuse with it is as good as computing."""
    bare = cached(flux, interval=3, anchor="start", level="model")
    model = correct(bare, EOC | {"trend": -1.0}, artefact=calibrate(flux, "model"))
    plain, cheap, exact = (real.sample(each) for each in (flux, bare, model))
    error, corrected = float((cheap - plain).norm()), float((exact - plain).norm())
    assert corrected < 0.02 * error


def test_a_method_that_looks_first_is_corrected_too(
    host: real.Host, correct: Callable[..., Any], report: Callable[[Any], Any], flux: Any
) -> None:
    indicator = {"indicator": "teacache", "threshold": 10.0, "coefficients": "identity"}
    bare = host.nodes["TeaCacheThreshold"].execute(flux, indicator, 0.0, 1.0).args[0]
    model = correct(bare, GOC)
    real.sample(model)
    run = report(model)
    assert run.num_reused > 0
    assert run.method == "TeaCache + Gradient-Optimized Cache"
    assert run.settings.startswith("threshold=10.0") and run.settings.endswith("steps=all")


def test_window_and_memory_settings_stay(host: real.Host, correct: Callable[..., Any], flux: Any) -> None:
    values = {"method": "fora", "interval": 2}
    bare = host.nodes["FeatureCache"].execute(flux, values, 0.2, 0.7, cache_dtype="bfloat16").args[0]
    find = host.module("nodes.host").find_binding
    before, after = find(bare), find(correct(bare, GOC))
    assert (after.start_percent, after.end_percent) == (0.2, 0.7)
    assert after.residence == before.residence
    assert after.ledger is not before.ledger


def test_other_nodes_wrappers_keep_their_place(
    cached: Callable[..., Any], correct: Callable[..., Any], flux: Any
) -> None:
    from comfy.patcher_extension import WrappersMP

    model = cached(flux)
    model.add_wrapper_with_key(
        WrappersMP.APPLY_MODEL, "other", lambda executor, *args, **kwargs: executor(*args, **kwargs)
    )
    before = {kind: list(found) for kind, found in model.wrappers.items()}
    assert {kind: list(found) for kind, found in correct(model, GOC).wrappers.items()} == before


def test_without_a_cache_it_says_what_to_connect(correct: Callable[..., Any], flux: Any) -> None:
    with pytest.raises(
        ValueError, match=r"carries no cache, so there is nothing to correct. Place this node behind"
    ):
        correct(flux, GOC)


def test_a_second_correction_is_refused(
    cached: Callable[..., Any], correct: Callable[..., Any], flux: Any
) -> None:
    with pytest.raises(
        ValueError, match=r"corrected already \(FORA \+ Gradient-Optimized Cache: .*eta=1.0.*remove one"
    ):
        correct(correct(cached(flux), GOC), GOC)


def test_a_cache_behind_it_is_refused(
    cached: Callable[..., Any], correct: Callable[..., Any], flux: Any
) -> None:
    with pytest.raises(ValueError, match=r"already carries a cache \(FORA \+ Gradient-Optimized Cache"):
        cached(correct(cached(flux), GOC))


def test_a_prior_of_another_level_or_family_is_refused(
    cached: Callable[..., Any], correct: Callable[..., Any], calibrate: Callable[..., str], flux: Any
) -> None:
    name = calibrate(flux, "stack")
    with pytest.raises(ValueError, match=r"is for level 'stack', the cache .* reuses at level 'module'"):
        correct(cached(flux), EOC, artefact=name)
    with pytest.raises(ValueError, match=r"does not fit this MODEL: it is for the family 'flux'"):
        correct(cached(real.random_sd3(), level="stack"), EOC, artefact=name)


def test_files_are_asked_for_where_they_belong(
    cached: Callable[..., Any], correct: Callable[..., Any], calibrate: Callable[..., str], flux: Any
) -> None:
    with pytest.raises(
        ValueError, match=r"The correction 'error_optimized' needs a file, and 'artefact' is 'none'"
    ):
        correct(cached(flux), EOC)
    with pytest.raises(
        ValueError, match=r"the correction 'gradient_optimized' takes no file. Set it to 'none'"
    ):
        correct(cached(flux), GOC, artefact=calibrate(flux))


def test_a_missing_file_is_named_with_what_it_was_for(host: real.Host) -> None:
    node = host.nodes["ErrorOptimizer"]
    text = node.validate_inputs("gone.safetensors", "FLUX.1-dev, 20 steps")
    assert "'gone.safetensors' is not here. It was made for: FLUX.1-dev, 20 steps." in text
    assert node.validate_inputs("none") is node.validate_inputs(None) is True


def test_only_priors_are_listed(host: real.Host, calibrate: Callable[..., str], flux: Any) -> None:
    name = calibrate(flux)
    profile = calibrate(flux, what={"what": "block_caching", "delta": 0.5})
    offered = next(
        each for each in host.nodes["ErrorOptimizer"].define_schema().inputs if each.id == "artefact"
    ).options
    assert name in offered and profile not in offered


def test_a_changed_file_runs_the_node_again(
    host: real.Host, folder: Path, calibrate: Callable[..., str], flux: Any
) -> None:
    node = host.nodes["ErrorOptimizer"]
    name = calibrate(flux)
    first = node.fingerprint_inputs(artefact=name, model=None)
    (folder / name).unlink()
    assert first is not None and node.fingerprint_inputs(artefact=name) is None
    assert node.fingerprint_inputs() is None


def test_a_prior_says_what_it_was_made_for(folder: Path, calibrate: Callable[..., str], flux: Any) -> None:
    artefact = cache_core.read_artefact(folder / calibrate(flux, cfg=4.0))
    assert str(artefact.sampling) == "6 steps, euler, simple, cfg 4, 64 x 64"
    assert artefact.made["num_runs"] == 1 and artefact.made["num_left_out"] == 0
    assert {name.split(".")[0] for name in artefact.tensors} == {"prior", "profile"}

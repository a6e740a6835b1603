"""The node `TeaCacheThreshold` in the real host; the guarantees of its methods are in test_contract.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import real
import torch

import cache_core

DEV = real.FLUX_CONFIG | {
    "hidden_size": 3072,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "guidance_embed": True,
}


@pytest.fixture
def threshold(host: real.Host) -> Callable[..., Any]:
    """Return a function that does what the node does: `threshold(model, 0.3)`."""

    def attach(model: Any, value: float, indicator: str = "teacache", **others: Any) -> Any:
        own = (
            {"coefficients": others.pop("coefficients", "identity")}
            if indicator == "teacache"
            else {"beta": 2.0}
        )
        window = {"start_percent": 0.0, "end_percent": 1.0} | others
        values = {"indicator": indicator, "threshold": value} | own
        return host.nodes["TeaCacheThreshold"].execute(model, values, **window)[0]

    return attach


@pytest.fixture
def folder(host: real.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder that the host looks for artefacts in."""
    import folder_paths

    paths, extensions = folder_paths.folder_names_and_paths["feature_cache"]
    entry = ([*paths, str(tmp_path)], extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "feature_cache", entry)
    return tmp_path


def _save(folder: Path, model: Any, coefficients: list[float], **changes: Any) -> str:
    network = real.network_of(model)
    adapter = cache_core.find_adapter(network)(network)
    given: dict[str, Any] = {
        "kind": cache_core.Kind.COEFFICIENTS,
        "method": "teacache",
        "architecture": cache_core.fingerprint(adapter, cache_core.Level.STACK),
        "sampling": cache_core.Sampling(),
        "tensors": {"coefficients": torch.tensor(coefficients, dtype=torch.float64)},
    }
    cache_core.write_artefact(cache_core.Artefact(**(given | changes)), folder / "fit.safetensors")
    return "fit.safetensors"


def _replayed(
    changes: list[float | None], threshold: float, rescale: Callable[[float], float] = float
) -> list[bool]:
    """Return which calls compute, from the changes in the report: the published loop."""
    full, total = [], 0.0
    for index, change in enumerate(changes):
        total += 0.0 if change is None else rescale(change)
        full.append(index in (0, len(changes) - 1) or total >= threshold)
        total = 0.0 if full[-1] else total
    return full


@pytest.mark.parametrize("indicator", ["teacache", "seacache"])
def test_threshold_zero_is_the_plain_model(
    flux: Any, threshold: Callable[..., Any], report: Callable[[Any], Any], indicator: str
) -> None:
    model = threshold(flux, 0.0, indicator)
    assert torch.equal(real.sample(model, cfg=4.0), real.sample(flux, cfg=4.0))
    assert report(model).num_reused == 0


@pytest.mark.parametrize("indicator", ["teacache", "seacache"])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_decisions_follow_from_the_changes_that_the_report_shows(
    flux: Any, threshold: Callable[..., Any], report: Callable[[Any], Any], indicator: str, sampler: str
) -> None:
    strict = threshold(flux, 0.0, indicator)
    real.sample(strict, steps=8, cfg=4.0, sampler=sampler)
    seen = [call.observed for call in report(strict).calls]
    value = 2.5 * sum(change or 0.0 for change in seen) / len(seen)
    model = threshold(flux, value, indicator)
    real.sample(model, steps=8, cfg=4.0, sampler=sampler)
    run = report(model)
    full = _replayed([call.observed for call in run.calls], value)
    assert [call.full for call in run.calls] == full
    assert run.calls[0].observed is None and 2 < sum(full) < len(full)
    assert run.refresh_ratio == pytest.approx(sum(full) / len(full))
    assert (run.level, len(run.sites)) == ("stack", 1)


def test_the_report_lists_the_changes(
    host: real.Host, flux: Any, threshold: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    """They are what a threshold is chosen from."""
    model = threshold(flux, 0.2, "seacache")
    real.sample(model, steps=3)
    rows = host.module("nodes.text").table(report(model)).split("change\n")[-1].splitlines()
    seen = [call.observed for call in report(model).calls]
    assert [row.split()[-1] for row in rows] == ["-", *(f"{change:.4f}" for change in seen[1:])]


def test_nothing_is_reused_outside_the_window(
    flux: Any, threshold: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    model = threshold(flux, 10.0, start_percent=0.25, end_percent=0.75)
    real.sample(model, steps=8)
    assert [call.full for call in report(model).calls] == [True, True, *[False] * 5, True]


def test_auto_says_what_a_model_without_coefficients_does(
    flux: Any, threshold: Callable[..., Any], report: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "cache_core"):
        model = threshold(flux, 0.2, coefficients="auto")
    assert (
        "Nobody has published TeaCache coefficients for this model ('flux', 2 double blocks and 3"
        in caplog.text
    )
    real.sample(model, steps=2)
    assert report(model).settings == "threshold=0.2, coefficients=identity (not calibrated for this model)"


def _choice(host: real.Host, **changes: Any) -> Any:
    import comfy.ldm.flux.model
    import comfy.ops

    network = comfy.ldm.flux.model.Flux(
        **(DEV | changes), device="meta", operations=comfy.ops.disable_weight_init
    )
    adapter = host.module("cache_core").find_adapter(network)(network)
    return host.module("nodes.published_coefficients").choose(adapter)


def test_auto_knows_flux_dev_by_its_shape_and_says_what_shares_it(host: real.Host) -> None:
    choice = _choice(host)
    assert choice.name == "flux.1-dev"
    assert "If it is flux.1-kontext-dev, choose that: it has the same shape." in choice.reason


@pytest.mark.parametrize(
    "changes",
    [{"guidance_embed": False}, {"in_channels": 96}, {"depth_single_blocks": 20}],
    ids=["schnell", "fill", "narrower"],
)
def test_auto_does_not_guess(host: real.Host, changes: dict[str, Any]) -> None:
    assert _choice(host, **changes).name == "identity"


def test_a_fitted_polynomial_takes_the_place_of_the_published(
    flux: Any, threshold: Callable[..., Any], report: Callable[[Any], Any], folder: Path
) -> None:
    """P(d) = d / 10 + 1/8."""
    name = _save(folder, flux, [0.1, 0.125])
    model = threshold(flux, 0.6, coefficients="flux.1-dev", artefact=name)
    real.sample(model, steps=8)
    run = report(model)
    full = _replayed([call.observed for call in run.calls], 0.6, lambda d: 0.1 * d + 0.125)
    assert [call.full for call in run.calls] == full
    assert run.num_reused > 0
    assert run.settings == "threshold=0.6, coefficients='fit.safetensors'"


def test_a_file_of_another_kind_is_refused(flux: Any, threshold: Callable[..., Any], folder: Path) -> None:
    scores = {"ratios": torch.ones(4)}
    name = _save(
        folder,
        flux,
        [],
        kind=cache_core.Kind.RATIOS,
        sampling=cache_core.Sampling(num_steps=4),
        tensors=scores,
    )
    with pytest.raises(
        ValueError,
        match=r"'fit.safetensors' is of kind 'ratios', method 'teacache'.*takes TeaCache's coefficients",
    ):
        threshold(flux, 0.2, artefact=name)


def test_a_file_for_another_model_is_refused(
    host: real.Host, flux: Any, threshold: Callable[..., Any], folder: Path
) -> None:
    name = _save(folder, real.random_sd3(), [1.0, 0.0])
    with pytest.raises(ValueError, match="it is for the family 'sd3', this MODEL is 'flux'"):
        threshold(flux, 0.2, artefact=name)


def test_seacache_takes_no_file(flux: Any, threshold: Callable[..., Any], folder: Path) -> None:
    with pytest.raises(ValueError, match=r"'seacache' takes no file\. Set it to 'none'"):
        threshold(flux, 0.2, "seacache", artefact=_save(folder, flux, [1.0, 0.0]))


def test_a_missing_file_is_named_before_anything_runs(host: real.Host) -> None:
    node = host.nodes["TeaCacheThreshold"]
    assert node.validate_inputs() is True
    assert node.validate_inputs("none", indicator={"indicator": "teacache"}) is True
    text = node.validate_inputs("gone.safetensors", "Flux.1 dev, 28 steps")
    assert "'gone.safetensors' is not here. It was made for: Flux.1 dev, 28 steps." in text


def test_a_changed_file_runs_the_node_again(host: real.Host, flux: Any, folder: Path) -> None:
    node = host.nodes["TeaCacheThreshold"]
    before = node.fingerprint_inputs(_save(folder, flux, [1.0, 0.0]))
    (folder / "fit.safetensors").unlink()
    assert node.fingerprint_inputs(_save(folder, flux, [1.0, 0.0, 0.0])) != before
    assert node.fingerprint_inputs() is None


def test_settings_out_of_bounds_are_refused(flux: Any, threshold: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"'threshold' is -1, expected at least 0"):
        threshold(flux, -1)
    with pytest.raises(ValueError, match=r"'indicator' is 'first', expected one of 'teacache', 'seacache'"):
        threshold(flux, 0.2, "first")
    with pytest.raises(ValueError, match=r"'start_percent' is 0\.5 and 'end_percent' 0\.5"):
        threshold(flux, 0.2, start_percent=0.5, end_percent=0.5)


def test_calibration_makes_a_file_that_the_node_takes(
    host: real.Host,
    flux: Any,
    threshold: Callable[..., Any],
    report: Callable[[Any], Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host.module("nodes.calibrate"), "save_folder", lambda: folder)
    name, plot, text = (
        host.nodes["FeatureCacheCalibrate"]
        .execute(
            flux,
            positive=real.conditioning(1),
            negative=real.conditioning(2),
            latent_image={"samples": torch.zeros(1, *real.latent_shape(flux))},
            what={"what": "teacache", "order": 2},
            steps=6,
            cfg=4.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
            seed=1,
            num_seeds=2,
            prompts="one run each",
            file_name="mine",
        )
        .result
    )
    assert (name, plot.ndim) == ("mine.safetensors", 4)
    assert "10 pairs" in text
    found = cache_core.read_artefact(folder / name)
    assert (found.kind, found.method, found.num_steps) == (cache_core.Kind.COEFFICIENTS, "teacache", 6)
    # The pairs are the changes that an uncached run of the method itself reports.
    strict = threshold(flux, 0.0, artefact=name)
    real.sample(strict, steps=6, cfg=4.0, seed=1)
    seen = [call.observed for call in report(strict).calls[1:]]
    assert found.tensors["coefficients.pairs"][:5, 0].tolist() == pytest.approx(seen)

"""What is particular to Chroma: Flux's blocks without modulation of their own, and blocks that the host may skip."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import oracle
import pytest
import real
import torch

STEPS = 6
LEVELS = ["module", "block", "stack", "model"]


@pytest.mark.parametrize("level", LEVELS)
def test_reuse_equals_the_oracle(host: real.Host, cached: Callable[..., Any], level: str) -> None:
    chroma = real.random_chroma()
    plain = real.sample(chroma, steps=STEPS, cfg=4.0)
    assert torch.equal(real.sample(cached(chroma, level=level, interval=1), steps=STEPS, cfg=4.0), plain)
    with oracle.replayed("chroma", real.network_of(chroma), level, oracle.fora_full_calls(STEPS, 3, "end")):
        expected = real.sample(chroma, steps=STEPS, cfg=4.0)
    actual = real.sample(cached(chroma, level=level, interval=3), steps=STEPS, cfg=4.0)
    assert not torch.equal(expected, plain)
    if level == "module":
        assert torch.equal(actual, expected)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("level", ["module", "block"])
def test_blocks_that_the_host_skips_stay_skipped(
    host: real.Host, cached: Callable[..., Any], report: Callable[[Any], Any], level: str
) -> None:
    """Chroma's own lists of skipped blocks: those never run, are never counted, and are not replayed."""
    chroma = real.random_chroma()
    network = real.network_of(chroma)
    network.skip_mmdit, network.skip_dit = [1], [0]
    plain = real.sample(chroma, steps=STEPS)
    assert torch.equal(real.sample(cached(chroma, level=level, interval=1), steps=STEPS), plain)
    model = cached(chroma, level=level, interval=2)
    assert not torch.equal(real.sample(model, steps=STEPS), plain)
    run = report(model)
    counts = {name: sum(c.computed[i] + c.reused[i] for c in run.calls) for i, name in enumerate(run.sites)}
    skipped = {name for name in counts if name.startswith(("double_blocks.1.", "single_blocks.0."))}
    assert {name for name, count in counts.items() if count == 0} == skipped


@pytest.mark.parametrize("level", LEVELS)
def test_radiance_is_cached_as_chroma(
    host: real.Host, cached: Callable[..., Any], report: Callable[[Any], Any], level: str
) -> None:
    """A subclass that draws pixels: the same blocks, and a head of its own behind them."""
    import comfy.ldm.chroma_radiance.model
    import comfy.supported_models

    changes = {
        "image_model": "chroma_radiance",
        "in_channels": 3,
        "out_channels": 3,
        "patch_size": 16,
        "nerf_hidden_size": 16,
        "nerf_mlp_ratio": 2,
        "nerf_depth": 1,
        "nerf_max_freqs": 4,
        "nerf_tile_size": 0,
        "nerf_final_head_type": "conv",
        "nerf_embedder_dtype": None,
        "use_x0": False,
    }
    kind = comfy.supported_models.ChromaRadiance
    known = inspect.signature(comfy.ldm.chroma_radiance.model.ChromaRadianceParams).parameters
    if "use_sequential_txt_ids" in known:
        changes["use_sequential_txt_ids"] = True
    radiance = real._build(kind, real.CHROMA_CONFIG | changes, 0)
    plain = _sample_pixels(radiance)
    assert torch.equal(_sample_pixels(cached(radiance, level=level, interval=1)), plain)
    with oracle.replayed("chroma", real.network_of(radiance), level, oracle.fora_full_calls(STEPS, 3, "end")):
        expected = _sample_pixels(radiance)
    model = cached(radiance, level=level, interval=3)
    actual = _sample_pixels(model)
    assert not torch.equal(expected, plain)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert report(model).foreseen_bytes == report(model).peak_bytes


def _sample_pixels(model: Any) -> torch.Tensor:
    import comfy.sample

    empty = torch.zeros(1, 3, 64, 64)
    noise = comfy.sample.prepare_noise(empty, 1)
    prompts = real.conditioning(1), real.conditioning(2)
    with torch.inference_mode():
        result: torch.Tensor = comfy.sample.sample(
            model, noise, STEPS, 4.0, "euler", "simple", *prompts, empty, disable_pbar=True, seed=1
        )
    return result


def test_it_is_reported_as_a_family_of_its_own(
    host: real.Host, cached: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    model = cached(real.random_chroma())
    real.sample(model, steps=2)
    assert report(model).family == "chroma"

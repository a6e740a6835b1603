"""Step lists, First Block Cache and MagCache through their nodes, and a forecast on top, in the real host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import real
import torch

WINDOW = {"start_percent": 0.0, "end_percent": 1.0}


def _step_list(host: real.Host, model: Any, **settings: Any) -> Any:
    return host.nodes["FeatureCache"].execute(model, {"method": "step_list", **settings}, **WINDOW)[0]


def _threshold(host: real.Host, model: Any, **settings: Any) -> Any:
    return host.nodes["TeaCacheThreshold"].execute(model, settings, **WINDOW)[0]


def _full(run: Any) -> list[int]:
    return [call.index for call in run.calls if call.full]


def test_list_at_the_models_output_without_forecast_is_euler_on_the_listed_noise_levels(
    host: real.Host,
) -> None:
    """What makes the comparison with fewer steps an exact one."""
    import comfy.sample

    plain = real.random_flux()
    cached = _step_list(host, plain, steps="0, 2, 5", order=0)
    sigmas = torch.tensor([1.0, 0.9, 0.8, 0.6, 0.5, 0.3, 0.2, 0.0])
    noise = comfy.sample.prepare_noise(torch.zeros(1, 16, 8, 8), 1)

    def draw(model: Any, levels: torch.Tensor) -> torch.Tensor:
        drawn: torch.Tensor = comfy.sample.sample(
            model,
            noise,
            len(levels) - 1,
            4.0,
            "euler",
            "simple",
            real.conditioning(1),
            real.conditioning(2),
            torch.zeros_like(noise),
            disable_pbar=True,
            seed=1,
            sigmas=levels,
        )
        return drawn

    fewer = draw(plain, sigmas[[0, 2, 5, 7]])
    torch.testing.assert_close(draw(cached, sigmas), fewer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_rule_follows_the_noise_with_and_without_guidance(
    host: real.Host, report: Callable[[Any], Any], cfg: float
) -> None:
    model = _step_list(host, real.random_flux(), speedup=2.0)
    real.sample(model, steps=8, cfg=cfg)
    assert _full(report(model)) == [0, 1, 3, 6]


def test_both_calls_of_heuns_listed_steps_are_computed(host: real.Host, report: Callable[[Any], Any]) -> None:
    model = _step_list(host, real.random_flux(), steps="0, 2")
    real.sample(model, steps=4, sampler="heun")
    assert _full(report(model)) == [0, 1, 4, 5]


def test_forecast_goes_on_top_of_any_cache(host: real.Host, report: Callable[[Any], Any]) -> None:
    core = host.module("cache_core")
    plain = real.random_flux()
    bare = host.nodes["FeatureCache"].execute(
        plain, {"method": "fora", "interval": 2, "anchor": "start", "level": "module"}, **WINDOW
    )[0]
    inner = host.module("nodes.host").find_binding(bare).policy
    correction = core.CORRECTIONS["forecast"]
    moved = host.module("nodes.host").replace_policy(bare, correction(inner, correction.config_type()))
    assert not torch.equal(real.sample(moved, steps=6), real.sample(bare, steps=6))
    assert _full(report(moved)) == _full(report(bare))


def test_first_block_skips_below_its_threshold(host: real.Host, report: Callable[[Any], Any]) -> None:
    model = _threshold(
        host, real.random_flux(), indicator="first_block", threshold=10.0, warmup=2, max_consecutive=2
    )
    real.sample(model, steps=8)
    assert _full(report(model)) == [0, 1, 4, 7]


def test_magcache_follows_its_table(host: real.Host, report: Callable[[Any], Any]) -> None:
    model = _threshold(
        host,
        real.random_flux(),
        indicator="magcache",
        threshold=10.0,
        retention=0.25,
        max_consecutive=2,
        ratios="flux.1-dev",
    )
    real.sample(model, steps=8)
    assert _full(report(model)) == [0, 1, 4, 7]


@pytest.mark.parametrize(
    "settings", [{"indicator": "first_block", "threshold": 0.0, "warmup": 0, "max_consecutive": 9}]
)
def test_first_block_at_threshold_0_is_bit_identical(host: real.Host, settings: dict[str, Any]) -> None:
    plain = real.random_flux()
    assert torch.equal(real.sample(_threshold(host, plain, **settings), steps=4), real.sample(plain, steps=4))

"""How often each sampler calls the model, against the sampler itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import real

UNFORESEEN = {"dpm_fast", "dpm_adaptive", "heunpp2", "uni_pc", "uni_pc_bh2"}
"""Samplers whose calls we do not foresee: adaptive, off the grid, or counted in a way of their own."""


def _names() -> list[str]:
    # The list of 0.30.0; the test asks the running host for its own.
    return [
        "euler",
        "euler_cfg_pp",
        "euler_ancestral",
        "euler_ancestral_cfg_pp",
        "heun",
        "heunpp2",
        "exp_heun_2_x0",
        "exp_heun_2_x0_sde",
        "dpm_2",
        "dpm_2_ancestral",
        "lms",
        "dpm_fast",
        "dpm_adaptive",
        "dpmpp_2s_ancestral",
        "dpmpp_2s_ancestral_cfg_pp",
        "dpmpp_sde",
        "dpmpp_2m",
        "dpmpp_2m_cfg_pp",
        "dpmpp_2m_sde",
        "dpmpp_2m_sde_heun",
        "dpmpp_3m_sde",
        "ddpm",
        "lcm",
        "ipndm",
        "ipndm_v",
        "deis",
        "res_multistep",
        "res_multistep_cfg_pp",
        "res_multistep_ancestral",
        "res_multistep_ancestral_cfg_pp",
        "gradient_estimation",
        "gradient_estimation_cfg_pp",
        "er_sde",
        "seeds_2",
        "seeds_3",
        "sa_solver",
        "sa_solver_pece",
        "ddim",
        "uni_pc",
        "uni_pc_bh2",
    ]


@pytest.mark.parametrize("denoise", [1.0, 0.5])
@pytest.mark.parametrize("sampler", _names())
def test_calls_are_foreseen(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any], sampler: str, denoise: float
) -> None:
    import comfy.samplers

    if sampler not in comfy.samplers.SAMPLER_NAMES:
        pytest.skip(f"this host has no sampler '{sampler}'")
    model = cached(flux, interval=3)
    real.sample(model, steps=5, sampler=sampler, denoise=denoise)
    run = report(model)
    foreseen = _foreseen(run, sampler)
    if sampler in UNFORESEEN:
        assert foreseen is None
    else:
        assert foreseen is not None
        assert [call.step for call in run.calls] == list(foreseen)
        assert run.calls[-1].full, "the end anchor computes the last call"
    assert run.calls[0].full
    assert run.num_reused > 0


def _foreseen(run: Any, sampler: str) -> tuple[int, ...] | None:
    import sys

    samplers = next(module for name, module in sys.modules.items() if name.endswith(".nodes.samplers"))
    sigmas = [1 - i / run.num_steps for i in range(run.num_steps)] + [0.0]
    name = "euler" if sampler == "ddim" else sampler
    foreseen: tuple[int, ...] | None = samplers.call_steps(name, sigmas)
    return foreseen


def test_a_schedule_that_does_not_end_at_zero_has_no_short_last_step(host: real.Host) -> None:
    call_steps = host.module("nodes.samplers").call_steps
    assert call_steps("heun", [1.0, 0.5, 0.2]) == (0, 0, 1, 1)
    assert call_steps("heun", [1.0, 0.5, 0.0]) == (0, 0, 1)
    assert call_steps("euler", []) == ()
    assert call_steps("somebody_elses", [1.0, 0.0]) is None


def test_two_halves_of_a_schedule(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    """KSamplerAdvanced's first half ends above sigma 0, so Heun makes two calls in each of its steps."""
    model = cached(flux, interval=2)
    real.sample(model, steps=6, sampler="heun", last_step=3)
    assert [call.step for call in report(model).calls] == [0, 0, 1, 1, 2, 2]
    assert report(model).calls[-1].full

"""How often each sampler calls the model, against the sampler itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import real


def _table() -> ModuleType:
    """Load the table by its place: it knows no host, so the names can be had before there is one."""
    path = Path(__file__).resolve().parents[2] / "nodes" / "samplers.py"
    spec = importlib.util.spec_from_file_location("samplers_by_place", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = _table()
UNFORESEEN = {"dpm_fast", "dpm_adaptive", "heunpp2", "uni_pc", "uni_pc_bh2"}
"""Samplers whose calls we do not foresee: adaptive, off the grid, or counted in a way of their own."""
ALIASES = {"ddim": "euler"}
"""Names in the menu that run another's function."""
SEVERAL = TABLE.FIRST_ALONE | TABLE.AT_THE_NEXT | TABLE.AT_THE_MEAN
LEVELS = [(name, "flux", 5) for name in sorted(TABLE.ONE_CALL_PER_STEP | SEVERAL)]
LEVELS += [(name, family, 3) for name in sorted(SEVERAL) for family in ("flux", "pixart")]
NAMES = sorted(TABLE.ONE_CALL_PER_STEP | set(TABLE.CALLS_PER_STEP) | UNFORESEEN | set(ALIASES))


def test_every_sampler_of_the_menu_is_known(host: real.Host) -> None:
    import comfy.samplers

    assert set(comfy.samplers.SAMPLER_NAMES) - set(NAMES) == set()


@pytest.mark.parametrize("denoise", [1.0, 0.5])
@pytest.mark.parametrize("sampler", NAMES)
def test_calls_are_foreseen(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any], sampler: str, denoise: float
) -> None:
    import comfy.samplers

    if sampler not in comfy.samplers.SAMPLER_NAMES:
        pytest.skip(f"this host has no sampler '{sampler}'")
    model = cached(flux, interval=3)
    real.sample(model, steps=5, sampler=sampler, denoise=denoise)
    run = report(model)
    sigmas = [1 - i / run.num_steps for i in range(run.num_steps)] + [0.0]
    foreseen = TABLE.call_steps(ALIASES.get(sampler, sampler), sigmas)
    if sampler in UNFORESEEN:
        assert foreseen is None
    else:
        assert foreseen is not None
        assert [call.step for call in run.calls] == list(foreseen)
        assert run.calls[-1].full, "the end anchor computes the last call"
    assert run.calls[0].full
    assert run.num_reused > 0


def test_a_schedule_that_does_not_end_at_zero_has_no_short_last_step() -> None:
    call_steps = TABLE.call_steps
    assert call_steps("heun", [1.0, 0.5, 0.2]) == (0, 0, 1, 1)
    assert call_steps("heun", [1.0, 0.5, 0.0]) == (0, 0, 1)
    assert call_steps("euler", []) == ()
    assert call_steps("somebody_elses", [1.0, 0.0]) is None


@pytest.mark.parametrize("sampler", TABLE.CALLS_PER_STEP)
def test_two_halves_of_a_schedule(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any], sampler: str
) -> None:
    """KSamplerAdvanced's first half ends above sigma 0, so its last step has as many calls as the others."""
    model = cached(flux, interval=2)
    real.sample(model, steps=6, sampler=sampler, last_step=3)
    number = TABLE.CALLS_PER_STEP[sampler]
    first = 1 if sampler in TABLE.FIRST_ALONE else number
    assert [call.step for call in report(model).calls] == [0] * first + [1] * number + [2] * number
    assert report(model).calls[-1].full


# A sampler of the host's asks its noise for a time that is off by one rounding.
@pytest.mark.filterwarnings("ignore:Should have ta>=t0:UserWarning")
@pytest.mark.parametrize(("sampler", "family", "last_step"), LEVELS)
def test_noise_levels_are_foreseen_that_need_not_be_read(
    host: real.Host,
    cached: Callable[..., Any],
    report: Callable[[Any], Any],
    sampler: str,
    family: str,
    last_step: int,
) -> None:
    """What the report has for each call, from the schedule, is what the sampler asked for."""
    import comfy.samplers
    from comfy.patcher_extension import WrappersMP

    if sampler not in comfy.samplers.SAMPLER_NAMES:
        pytest.skip(f"this host has no sampler '{sampler}'")
    asked: list[float] = []

    def note(executor: Any, x: Any, timestep: Any, *args: Any) -> Any:
        asked.append(float(timestep.max()))
        return executor(x, timestep, *args)

    model = cached({"flux": real.random_flux, "pixart": real.random_pixart}[family]())
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "note", note)
    real.sample(model, steps=5, sampler=sampler, last_step=last_step)
    assert [call.sigma for call in report(model).calls] == pytest.approx(asked, rel=1e-5)


@pytest.mark.parametrize(
    ("sampler", "settings", "kind"),
    [
        ("euler", {}, "first order"),
        ("euler", {"s_churn": 1.0}, "unknown"),
        ("euler_ancestral", {}, "new noise"),
        ("euler_ancestral", {"eta": 0.0}, "first order"),
        ("euler_ancestral_cfg_pp", {"eta": 0.0}, "unknown"),
        ("dpmpp_2m", {}, "multistep"),
        ("dpmpp_2m_cfg_pp", {}, "unknown"),
        ("er_sde", {}, "unknown"),
        ("heun", {}, "several calls"),
        ("dpmpp_2s_ancestral", {"eta": 0.0}, "several calls"),
        ("heunpp2", {}, "unknown"),
    ],
)
@pytest.mark.usefixtures("host")
def test_a_samplers_class_follows_what_it_does(sampler: str, settings: dict[str, float], kind: str) -> None:
    import comfy.samplers

    if sampler not in comfy.samplers.SAMPLER_NAMES:
        pytest.skip(f"this host has no sampler '{sampler}'")
    assert TABLE.sampler_class(comfy.samplers.ksampler(sampler, settings)) == kind


def test_guidance_is_known_where_two_predictions_are_mixed(host: real.Host) -> None:
    """A guider without a negative prompt samples as cfg 1 does; one of three predictions has no one scale."""
    import comfy.samplers
    import torch
    from comfy_extras import nodes_custom_sampler as stock

    model, run_of = real.random_flux(), host.module("nodes.runs").run_of

    def scale(guider: Any) -> Any:
        sampler, sigmas = comfy.samplers.ksampler("euler"), torch.linspace(1.0, 0.0, 5)
        return run_of(guider, torch.zeros(1, 16, 8, 8), sampler, sigmas, (0.0, 1.0)).cfg

    guided = comfy.samplers.CFGGuider(model)
    guided.set_cfg(4.0)
    assert scale(stock.Guider_Basic(model)) == 1.0
    assert scale(guided) == 4.0
    assert scale(stock.Guider_DualCFG(model)) is None

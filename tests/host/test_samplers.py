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


def test_two_halves_of_a_schedule(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    """KSamplerAdvanced's first half ends above sigma 0, so Heun makes two calls in each of its steps."""
    model = cached(flux, interval=2)
    real.sample(model, steps=6, sampler="heun", last_step=3)
    assert [call.step for call in report(model).calls] == [0, 0, 1, 1, 2, 2]
    assert report(model).calls[-1].full

"""Samplers with which reuse changes the picture more: said once, where something is reused, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import real
import torch
from cells.base import MODELS, guided, ksampler, latent
from cells.sampling import SAMPLERS
from stock import stock

GROUP = "warnings"
FUNCTIONS = {"ddim": "euler", "uni_pc": "unipc", "uni_pc_bh2": "unipc_bh2"}
"""Names of the menu that run a function of another name."""


@pytest.fixture
def table(host: real.Host) -> ModuleType:
    """Return the table of samplers."""
    return host.module("nodes.samplers")


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return [text for text in texts if "will differ more" in text]


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"dpm_adaptive"}))
def test_a_sampler_of_the_table_warns_once_and_no_other(
    host: real.Host,
    attach: Callable[..., Any],
    table: ModuleType,
    caplog: pytest.LogCaptureFixture,
    sampler: str,
) -> None:
    import comfy.samplers

    if sampler not in comfy.samplers.SAMPLER_NAMES:
        pytest.skip(f"this ComfyUI has no sampler '{sampler}'")
    name = FUNCTIONS.get(sampler, sampler)
    drifts = name in table.FRESH_NOISE | table.AMPLIFYING
    model = attach(MODELS["flux"](), interval=2)
    ksampler(model, sampler_name=sampler)
    found = _warnings(caplog)
    assert len(found) == drifts
    text = host.nodes["FeatureCacheReport"].execute(model, latent(model)).result[1]
    assert all(f"'{name}'" in warning and warning in text for warning in found)
    assert ("will differ more" in text) == drifts


def test_the_tables_name_samplers_that_exist(table: ModuleType) -> None:
    known = {FUNCTIONS.get(sampler, sampler) for sampler in SAMPLERS}
    assert known >= table.FRESH_NOISE | table.AMPLIFYING
    assert not table.FRESH_NOISE & table.AMPLIFYING


def test_a_run_in_which_nothing_is_reused_does_not_warn(
    host: real.Host, attach: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    model = attach(MODELS["flux"](), interval=1)
    ksampler(model, sampler_name="euler_ancestral")
    assert _warnings(caplog) == []
    assert "will differ more" not in host.nodes["FeatureCacheReport"].execute(model, latent(model)).result[1]


def test_every_run_warns_anew(
    host: real.Host, attach: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    model = attach(MODELS["flux"](), interval=2)
    for number in (1, 2):
        ksampler(model, sampler_name="euler_ancestral")
        assert len(_warnings(caplog)) == number


@pytest.mark.parametrize(("eta", "number"), [(0.0, 0), (1.0, 1)])
def test_an_ancestral_sampler_told_to_add_no_noise_does_not_warn(
    host: real.Host,
    attach: Callable[..., Any],
    last: Callable[[Any], Any],
    caplog: pytest.LogCaptureFixture,
    eta: float,
    number: int,
) -> None:
    model = attach(MODELS["flux"](), interval=2)
    sampler = stock("SamplerEulerAncestral", eta=eta, s_noise=1.0)[0]
    guided(
        model,
        "CFGGuider",
        sampler=sampler,
        positive=real.conditioning(1),
        negative=real.conditioning(2),
        cfg=4.0,
    )
    assert len(_warnings(caplog)) == number
    run = last(model)
    assert run.sampler == "euler_ancestral" + (" (eta 0)" if eta == 0 else "")
    assert run.calls[-1].full and [call.step for call in run.calls] == list(range(5))


def test_without_its_noise_that_sampler_is_deterministic(host: real.Host) -> None:
    """What the silence rests on: with eta 0 the seed of the noise on the way does not matter."""
    model = MODELS["flux"]()
    sampler = stock("SamplerEulerAncestral", eta=0.0, s_noise=1.0)[0]
    settings = {"positive": real.conditioning(1), "negative": real.conditioning(2), "cfg": 4.0}
    ancestral = guided(model, "CFGGuider", sampler=sampler, **settings)
    plain = guided(model, "CFGGuider", sampler=stock("KSamplerSelect", sampler_name="euler")[0], **settings)
    torch.testing.assert_close(ancestral, plain, rtol=1e-4, atol=1e-4)

"""A forecast on top of any method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy

from cache_core import Call, History, Level, Run, Snapshot, Target
from cache_core.forecasting import ForecastConfig
from cache_core.policies.forecast import Forecast

SITE = toy.ToyAdapter(toy.ToyDiT()).sites(Level.MODULE)[0]
RUN = Run(sigmas=(1.0, 0.9, 0.6, 0.2, 0.0))


def _on_fora(**settings: Any) -> Forecast:
    return Forecast(toy.fora(), ForecastConfig(**settings))


def _history(*values: float) -> History:
    return tuple(
        Snapshot(call=Call(index=i, step=i, sigma=RUN.sigmas[i], run=RUN), value=torch.full((1, 1), value))
        for i, value in enumerate(values)
    )


TARGET = Target(call=Call(index=3, step=3, sigma=0.2, run=RUN), site=SITE, stream=0)


def test_line_through_the_last_two_is_continued_over_sigma_not_steps() -> None:
    found = _on_fora(order=1, trust="full").estimate(_history(0.0, 1.0, 4.0), TARGET)
    assert found.item() == pytest.approx(4.0 + 10.0 * 0.4)


def test_what_the_inner_method_makes_of_the_newest_is_kept() -> None:
    class Tripled(type(toy.fora())):  # type: ignore[misc]
        def estimate(self, history: History, target: Target) -> torch.Tensor:
            return 3 * history[-1].value

    inner = Tripled(toy.fora().config)
    found = Forecast(inner, ForecastConfig(order=1, trust="full")).estimate(_history(0.0, 1.0, 4.0), TARGET)
    assert found.item() == pytest.approx(3 * 4.0 + 4.0)


def test_one_snapshot_is_reused_as_the_inner_method_does() -> None:
    assert _on_fora().estimate(_history(5.0), TARGET).item() == 5.0


def test_order_0_changes_nothing_and_holds_nothing_more() -> None:
    policy = _on_fora(order=0)
    assert policy.estimate(_history(0.0, 5.0), TARGET).item() == 5.0
    assert policy.memory == 1


def test_memory_is_the_forecasts() -> None:
    assert _on_fora().memory == 4

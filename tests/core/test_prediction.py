"""What is predicted is what a run counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import published
import pytest
import torch
import toy
from torch import Tensor

from cache_core import (
    Action,
    Call,
    Config,
    Evidence,
    History,
    Level,
    Policy,
    Run,
    Site,
    Target,
    predict_refresh_ratio,
)


class _Lazy(Policy):
    """Would reuse everything in every call."""

    name = "lazy"
    title = "Lazy"
    source = "a test"
    config_type = Config
    strictest: ClassVar[Mapping[str, Any]] = {}

    @property
    def level(self) -> Level:
        return Level.MODULE

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        return dict.fromkeys(evidence.sites, Action.REUSE)

    def estimate(self, history: History, target: Target) -> Tensor:
        return history[-1].value.clone()


SITES = toy.ToyAdapter(toy.ToyDiT()).sites(Level.MODULE)


def test_the_first_call_computes_whatever_is_planned() -> None:
    assert predict_refresh_ratio(_Lazy(Config()), published.even_run(4), SITES) == pytest.approx(1 / 4)


def test_calls_are_counted_where_the_sampler_tells_them() -> None:
    run = Run(sigmas=(1.0, 0.5, 0.0), call_steps=(0, 0, 1))
    assert predict_refresh_ratio(_Lazy(Config()), run, SITES) == pytest.approx(1 / 3)


def test_a_sampler_that_does_not_tell_counts_as_one_call_per_step() -> None:
    assert predict_refresh_ratio(_Lazy(Config()), Run(sigmas=(1.0, 0.5, 0.0)), SITES) == pytest.approx(1 / 2)


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_a_run_counts_what_was_predicted(interval: int) -> None:
    policy = toy.fora(interval=interval)
    session = toy.open_session(policy, steps=7)
    network = toy.ToyDiT()
    for _ in range(7):
        toy.call(session, network, torch.ones(1, 1), [toy.lane()])
    assert session.close(0.0).refresh_ratio == pytest.approx(
        predict_refresh_ratio(policy, session.run, SITES)
    )

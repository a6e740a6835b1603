"""First Block Cache's threshold, and DBCache's limits on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy

from cache_core import Action, Call, Evidence, Indicator, Level, Observation, Reading, Run
from cache_core.policies.first_block import FirstBlock, FirstBlockConfig

SITES = toy.ToyAdapter(toy.ToyDiT()).sites(Level.MODULE)
RUN = Run(sigmas=(1.0, 0.8, 0.6, 0.4, 0.2, 0.0), call_steps=tuple(range(5)))
CALLS = [Call(index=i, step=i, sigma=RUN.sigmas[i], run=RUN) for i in range(5)]


def _skips(observed: float, computed: list[bool], **settings: Any) -> bool:
    trace = tuple(Observation(call=CALLS[i], value=observed, computed=was) for i, was in enumerate(computed))
    evidence = Evidence(sites=SITES, trace=trace, observed=observed)
    plan = FirstBlock(FirstBlockConfig(**settings)).plan(CALLS[len(computed)], evidence)
    assert set(plan) == set(SITES)
    return set(plan.values()) == {Action.REUSE}


def test_below_the_threshold_is_skipped_and_at_it_computed() -> None:
    assert _skips(0.079, [True], threshold=0.08)
    assert not _skips(0.08, [True], threshold=0.08)


def test_changes_do_not_add_up() -> None:
    assert _skips(0.07, [True, False, False, False], threshold=0.08)


def test_first_steps_are_computed_while_warming_up() -> None:
    assert not _skips(0.0, [True, True], warmup=3)
    assert _skips(0.0, [True, True, True], warmup=3)


def test_series_of_skipped_calls_ends() -> None:
    assert _skips(0.0, [True, True, False], max_consecutive=2)
    assert not _skips(0.0, [True, False, False], max_consecutive=2)


def test_it_looks_at_the_first_residual_of_the_last_computed_call() -> None:
    policy = FirstBlock(FirstBlockConfig())
    assert policy.indicator is Indicator.FIRST_RESIDUAL
    assert policy.compares_with == "last computed call"
    assert policy.level is Level.STACK


def test_change_is_relative_to_the_residual_of_then() -> None:
    now, then = (
        Reading(call=CALLS[i], value=torch.tensor(value), grid=(1, 2))
        for i, value in ((1, [3.0, -2.0]), (0, [2.0, -2.0]))
    )
    assert FirstBlock(FirstBlockConfig()).measure(now, then).item() == pytest.approx(1 / 4)

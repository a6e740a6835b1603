"""FORA's published schedules, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy

from cache_core import Action, Call, Evidence, Level, Run, Snapshot, Target

SITES = toy.ToyAdapter(toy.ToyDiT()).sites(Level.MODULE)


def _full(num_calls: int, known: bool = True, **settings: Any) -> list[int]:
    run = Run(sigmas=(1.0,) * (num_calls + 1), call_steps=tuple(range(num_calls)) if known else None)
    plans = [
        toy.fora(**settings).plan(Call(index=i, step=i, sigma=1.0, run=run), Evidence(sites=SITES))
        for i in range(num_calls)
    ]
    assert all(set(plan) == set(SITES) and len(set(plan.values())) == 1 for plan in plans)
    return [i for i, plan in enumerate(plans) if plan[SITES[0]] is Action.COMPUTE]


def test_end_anchor_counts_back_from_the_last_call() -> None:
    assert _full(10, interval=3, anchor="end") == [0, 3, 6, 9]
    assert _full(8, interval=3, anchor="end") == [0, 1, 4, 7]


def test_start_anchor_counts_from_the_first_call() -> None:
    assert _full(8, interval=3, anchor="start") == [0, 3, 6]


def test_interval_one_computes_everything() -> None:
    assert _full(5, interval=1, anchor="end") == _full(5, interval=1, anchor="start") == [0, 1, 2, 3, 4]


def test_unknown_length_anchors_at_the_start_and_computes_the_last_step() -> None:
    assert _full(8, known=False, interval=3, anchor="end") == [0, 3, 6, 7]


def test_estimate_is_a_copy_of_the_newest() -> None:
    call = Call(index=0, step=0, sigma=1.0, run=Run(sigmas=(1.0, 0.0)))
    history = (Snapshot(call=call, value=torch.zeros(1)), Snapshot(call=call, value=torch.ones(1)))
    estimate = toy.fora().estimate(history, Target(call=call, site=SITES[0], stream=0))
    estimate.add_(1)
    assert (estimate.item(), history[-1].value.item()) == (2, 1)


@pytest.mark.parametrize("level", ["module", "block", "stack"])
def test_level_is_a_setting(level: str) -> None:
    assert toy.fora(level=level).level is Level(level)

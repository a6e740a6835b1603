"""MagCache's published rule, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy

from cache_core import Action, Architecture, Artefact, Call, Evidence, Kind, Level, Run, Sampling
from cache_core.ops.magnitude_ratios import PUBLISHED_RATIOS, resampled
from cache_core.policies.magcache import MagCache, MagCacheConfig

SITES = toy.ToyAdapter(toy.ToyDiT()).sites(Level.MODULE)


def _run(num_steps: int, **options: Any) -> Run:
    sigmas = tuple(1 - i / num_steps for i in range(num_steps + 1))
    return Run(sigmas=sigmas, call_steps=tuple(range(num_steps)), **options)


def _measured(*ratios: float) -> Artefact:
    return Artefact(
        kind=Kind.RATIOS,
        method="magcache",
        architecture=Architecture(family="toy", level=Level.STACK, sites=("stack",)),
        sampling=Sampling(num_steps=len(ratios)),
        tensors={"ratios": torch.tensor(ratios)},
    )


def _full(run: Run, **settings: Any) -> list[int]:
    return sorted(MagCache(MagCacheConfig(**settings)).full_steps(run))


def test_drift_of_the_product_adds_up_to_the_threshold() -> None:
    """Ratio 1.1: |1 - 1.1| = 0.1, |1 - 1.21| = 0.21; their sum 0.31 passes 0.3 at the second skipped step."""
    assert _full(_run(6), measured=_measured(*[1.1] * 6), threshold=0.3, retention=0.0) == [0, 2, 4]


def test_ratios_that_cancel_do_not_drift() -> None:
    ratios = _measured(1.0, 1.25, 0.8, 1.25, 0.8, 1.25)
    assert _full(_run(6), measured=ratios, threshold=0.6, retention=0.0) == [0, 5]


def test_no_more_than_so_many_are_skipped_in_a_row() -> None:
    assert _full(_run(7), measured=_measured(*[1.0] * 7), retention=0.0, max_consecutive=2) == [0, 3, 6]


def test_first_share_of_steps_is_computed() -> None:
    assert _full(_run(10), measured=_measured(*[1.0] * 10), retention=0.35, max_consecutive=100) == [
        0,
        1,
        2,
        3,
    ]


def test_steps_outside_of_the_window_are_computed_and_begin_a_new_sum() -> None:
    run = _run(6, reuse_to=0.4)
    assert _full(run, measured=_measured(*[1.0] * 6), retention=0.0, max_consecutive=3) == [0, 4, 5]


def test_plan_follows_the_steps_of_calls() -> None:
    run = Run(sigmas=_run(4).sigmas, call_steps=(0, 0, 1, 1, 2, 2, 3))
    policy = MagCache(MagCacheConfig(measured=_measured(*[1.0] * 4), retention=0.0, max_consecutive=1))
    plans = [
        policy.plan(Call(index=i, step=step, sigma=0.5, run=run), Evidence(sites=SITES))
        for i, step in enumerate((0, 0, 1, 1, 2, 2, 3))
    ]
    assert [plan[SITES[0]] is Action.COMPUTE for plan in plans] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_ratios_are_taken_at_the_nearest_place() -> None:
    assert resampled((1.0, 2.0, 3.0), 5) == (1.0, 1.0, 2.0, 3.0, 3.0)
    assert resampled((1.0, 2.0, 3.0), 1) == (1.0,)


@pytest.mark.parametrize("name", list(PUBLISHED_RATIOS))
def test_published_ratios_save_something_with_published_settings(name: str) -> None:
    num_steps = len(PUBLISHED_RATIOS[name])
    threshold, retention, longest = {"flux.1-dev": (0.24, 0.1, 5), "flux.1-kontext-dev": (0.05, 0.2, 4)}[name]
    full = _full(
        _run(num_steps), ratios=name, threshold=threshold, retention=retention, max_consecutive=longest
    )
    assert full[: int(retention * num_steps)] == list(range(int(retention * num_steps)))
    assert len(full) < 0.7 * num_steps

"""Features that are not finite are counted, and found, once the run is over."""

from __future__ import annotations

import pytest
import torch
import toy

from cache_core import Call, Level, Run, Site
from cache_core.watch import FiniteWatch

RUN = Run(sigmas=(1.0, 0.5, 0.0))
NAN, INF = float("nan"), float("inf")


def _site(index: int) -> Site:
    return Site(level=Level.MODULE, path="blocks", index=index, part="mlp")


def _call(step: int) -> Call:
    return Call(index=step, step=step, sigma=1.0, run=RUN)


def test_nothing_seen_is_nothing_found() -> None:
    assert FiniteWatch().close() == (0, "")


def test_features_are_counted_and_the_first_is_named() -> None:
    watch = FiniteWatch()
    for step, index, values in [(0, 0, [1.0]), (0, 1, [2.0, NAN]), (1, 0, [INF, -INF]), (1, 1, [3.0])]:
        watch.look(_call(step), _site(index), [torch.tensor(values)])
    assert watch.close() == (2, "blocks.1.mlp at step 0")
    assert watch.close() == (0, "")


def test_a_feature_of_several_streams_counts_once() -> None:
    watch = FiniteWatch()
    watch.look(_call(0), _site(0), [torch.tensor([NAN]), torch.tensor([INF])])
    watch.look(_call(0), _site(1), [torch.tensor([1.0]), torch.tensor([-INF])])
    assert watch.close() == (2, "blocks.0.mlp at step 0")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_sums_are_not_taken_for_infinite(dtype: torch.dtype) -> None:
    watch = FiniteWatch()
    watch.look(_call(0), _site(0), [torch.full((1000,), 60000.0, dtype=dtype)])
    assert watch.close() == (0, "")


def test_a_run_reports_what_its_network_made() -> None:
    session, network = toy.open_session(toy.fora(interval=2, anchor="start")), toy.ToyDiT()
    toy.call(session, network, torch.ones(1, 1), [toy.lane()])
    toy.call(session, network, torch.ones(1, 1), [toy.lane()])
    toy.call(session, network, torch.full((1, 1), INF), [toy.lane()])
    memory = session.close(seconds=1.0).memory
    assert (memory.num_non_finite, memory.first_non_finite) == (2, "blocks.0.mlp at step 2")

"""Dynamic schedules on the toy, whose indicator is its input: one decision per call, from what was seen before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import toy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cache_core import CacheSession, Indicator, Lane, Level, Reading, UnsupportedModelError

COND, UNCOND = toy.lane("cond"), toy.lane("uncond")


def _at(value: float) -> Tensor:
    return torch.full((1, 1), float(value))


def _run(
    session: CacheSession, inputs: Sequence[float], **options: Any
) -> tuple[list[bool], list[float | None]]:
    """Make one call per input; return which computed everything, and what was observed."""
    network = toy.ToyDiT()
    for value in inputs:
        toy.call(session, network, _at(value), [COND], **options)
    calls = session.close(seconds=1.0).calls
    return [call.full for call in calls], [call.observed for call in calls]


def test_change_since_the_last_computed_call_adds_up_to_the_threshold() -> None:
    """Inputs 8, 10, 11, 11, 22: changes 1/4, 1/10, 0, 1. The first call has nothing to compare."""
    full, observed = _run(toy.open_session(toy.threshold(threshold=0.3)), [8, 10, 11, 11, 22])
    assert observed == [None, pytest.approx(0.25), pytest.approx(0.1), 0.0, 1.0]
    # 1/4 stays below, 1/4 + 1/10 does not; then the sum begins again.
    assert full == [True, False, True, False, True]


def test_previous_indicator_may_be_that_of_the_last_computed_call() -> None:
    full, observed = _run(toy.open_session(toy.threshold(toy.FromComputed, threshold=0.3)), [8, 10, 12, 12])
    assert full == [True, False, True, False]
    assert observed == [None, pytest.approx(0.25), pytest.approx(0.5), 0.0]


def test_threshold_zero_computes_everything() -> None:
    full, _ = _run(toy.open_session(toy.threshold(threshold=0.0)), [8, 8, 8])
    assert full == [True, True, True]


def test_indicator_that_is_not_finite_computes() -> None:
    full, observed = _run(toy.open_session(toy.threshold(threshold=9.0)), [8, float("nan"), 8, 8, 8])
    assert full == [True, True, True, False, False]
    assert observed == [None, None, None, 0.0, 0.0]


def test_calls_outside_the_window_compute_but_are_observed() -> None:
    session, network = toy.open_session(toy.threshold(threshold=9.0), reuse_from=0.5), toy.ToyDiT()
    for sigma in (0.9, 0.7, 0.4):
        toy.call(session, network, _at(8), [COND], sigma=sigma)
    calls = session.close(seconds=1.0).calls
    assert [call.full for call in calls] == [True, True, False]
    assert [call.observed for call in calls] == [None, 0.0, 0.0]


def test_the_first_listed_lane_of_the_first_pass_decides_for_all() -> None:
    """The second lane changes wildly, alone or in the batch: nobody looks."""
    for batched in (True, False):
        session, network = toy.open_session(toy.threshold(threshold=0.5)), toy.ToyDiT()
        for first, second in ((8.0, 1.0), (9.0, 100.0)):
            with session.open_call(0.5):
                batches = [[COND, UNCOND]] if batched else [[COND], [UNCOND]]
                inputs = torch.cat((_at(first), _at(second))).chunk(len(batches))
                for lanes, x in zip(batches, inputs, strict=True):
                    _pass(session, network, x, lanes)
        calls = session.close(seconds=1.0).calls
        assert [call.reused for call in calls] == [(0, 0), (2, 2)]
        assert [call.observed for call in calls] == [None, pytest.approx(0.125)]


def test_a_lane_that_decides_for_the_first_time_computes() -> None:
    session, network = toy.open_session(toy.threshold(threshold=9.0)), toy.ToyDiT()
    toy.call(session, network, _at(8), [COND])
    toy.call(session, network, _at(8), [UNCOND])
    toy.call(session, network, _at(8), [COND])
    calls = session.close(seconds=1.0).calls
    assert [call.full for call in calls] == [True, True, False]
    assert calls[1].observed is None


def test_a_lane_that_comes_twice_decides_nothing() -> None:
    session, network = toy.open_session(toy.threshold(threshold=9.0)), toy.ToyDiT()
    for _ in range(3):
        toy.call(session, network, torch.cat((_at(8), _at(8))), [COND, COND])
    report = session.close(seconds=1.0)
    assert report.num_reused == 0
    assert report.peak_bytes == 0


def test_a_lane_that_becomes_ambiguous_forgets_its_indicator() -> None:
    session, network = toy.open_session(toy.threshold(threshold=9.0)), toy.ToyDiT()
    toy.call(session, network, _at(8), [COND])
    assert session.planner.num_bytes == 4
    toy.call(session, network, torch.cat((_at(8), _at(8))), [COND, COND])
    assert session.planner.num_bytes == 0


def test_a_pass_that_shows_no_indicator_computes_the_whole_call() -> None:
    session, network = toy.open_session(toy.threshold(threshold=9.0)), toy.ToyDiT()
    toy.call(session, network, _at(8), [COND])
    with session.open_call(0.5):
        with session.open_pass(network, [UNCOND]):
            pass
        _pass(session, network, _at(8), [COND])
    toy.call(session, network, _at(8), [COND])
    assert [call.full for call in session.close(seconds=1.0).calls] == [True, True, False]


def test_the_indicator_is_a_copy_and_its_bytes_are_counted() -> None:
    session, network = toy.open_session(toy.threshold(threshold=9.0)), toy.ToyDiT()
    x = _at(8)
    toy.call(session, network, x, [COND])
    x.fill_(16)
    toy.call(session, network, x, [COND])
    report = session.close(seconds=1.0)
    assert report.calls[1].observed == 1.0
    # Two features and the indicator, four bytes each.
    assert (report.peak_bytes, report.end_bytes) == (12, 0)


def test_a_policy_measures_by_itself_and_sees_where_it_is() -> None:
    seen: list[tuple[float, int, tuple[int, int]]] = []

    class Own(toy.Threshold):
        def measure(self, current: Reading, previous: Reading) -> Tensor:
            seen.extend((r.value.item(), r.call.index, r.grid) for r in (previous, current))
            return torch.tensor(0.25)

    session, network = toy.open_session(toy.threshold(Own)), toy.ToyDiT()
    wide = toy.lane(shape=(1, 1, 3, 5))
    for value in (8, 9):
        toy.call(session, network, _at(value), [wide])
    assert seen == [(8.0, 0, (3, 5)), (9.0, 1, (3, 5))]
    assert session.close(seconds=1.0).calls[1].observed == 0.25


def test_an_indicator_that_the_family_lacks_is_refused_with_what_there_is() -> None:
    policy = toy.threshold(indicator=Indicator.MODULATED_INPUT, level=Level.BLOCK)
    with pytest.raises(
        UnsupportedModelError, match=r"'modulated_input'.*family 'toy'.*level 'block'.*'network_input'"
    ):
        _run(toy.open_session(policy), [8])


def _pass(session: CacheSession, network: torch.nn.Module, x: Tensor, lanes: list[Lane]) -> None:
    with session.open_pass(network, lanes) as opened, toy.cache_core.scoped_forwards(opened.patches):
        network(x)


class _Waits(TorchDispatchMode):
    """Counts how often a number is fetched from a tensor, which on a device waits for everything before it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("policy", "waits"), [(toy.threshold(threshold=0.3), [0, 1, 1]), (toy.fora(interval=2), [0, 0, 0])]
)
def test_a_dynamic_schedule_waits_once_per_call_and_a_static_one_never(policy: Any, waits: list[int]) -> None:
    session, network, counted = toy.open_session(policy), toy.ToyDiT(), []
    for value in (8, 9, 20):
        with _Waits() as mode:
            toy.call(session, network, _at(value), [COND])
        counted.append(mode.count)
    assert counted == waits

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy

from cache_core import CallReport, MemoryReport, RunReport
from cache_core.clock import Span


def _call(index: int, seconds: float, *, reused: bool = False) -> CallReport:
    counts = ((0,), (1,)) if reused else ((1,), (0,))
    return CallReport(
        index=index, step=index, sigma=1.0, seconds=seconds, computed=counts[0], reused=counts[1]
    )


def _report(calls: list[CallReport], **changes: Any) -> RunReport:
    facts: dict[str, Any] = {
        "method": "m",
        "settings": "",
        "level": "module",
        "family": "toy",
        "sampler": "euler",
    }
    facts |= {
        "num_steps": len(calls),
        "sites": ("a",),
        "calls": tuple(calls),
        "total_work": 0.0,
        "saved_work": 0.0,
    }
    return RunReport(**(facts | {"seconds": 9.0, "memory": MemoryReport()} | changes))


def test_ratios_are_counts_and_seconds() -> None:
    report = _report([_call(0, 5), _call(1, 2), _call(2, 1, reused=True)], total_work=3.0, saved_work=1.0)
    assert report.refresh_ratio == pytest.approx(2 / 3)
    assert report.cost_ratio == pytest.approx(2 / 3)


def test_first_call_warms_up_and_is_not_held_against_the_cache() -> None:
    report = _report([_call(0, 50), _call(1, 2), _call(2, 1, reused=True)], saved_work=1.5)
    assert report.uncached_seconds == 6
    assert report.measured_speedup == pytest.approx(6 / 5)
    assert report.ideal_speedup == pytest.approx(6 / 4.5)


def test_nothing_reused_is_speedup_one() -> None:
    report = _report([_call(0, 3), _call(1, 3)])
    assert (report.refresh_ratio, report.measured_speedup, report.ideal_speedup) == (1, 1, 1)


@pytest.mark.parametrize("calls", [[], [_call(0, 1)]])
def test_short_runs_divide_by_nothing(calls: list[CallReport]) -> None:
    report = _report(calls)
    assert (report.refresh_ratio, report.cost_ratio, report.measured_speedup, report.ideal_speedup) == (
        1,
        1,
        1,
        1,
    )


def test_shared_work_is_saved_only_where_all_its_sites_are_reused() -> None:
    """Two sites share 4 s of work per call; over three calls it runs whenever either is computed."""
    session = toy.open_session(toy.fora(), steps=3)
    recorder, (a, b) = session.recorder, toy.ToyAdapter(toy.ToyDiT()).sites(toy.Level.MODULE)
    recorder.declare("toy", (a, b))
    for index, (a_reused, b_reused) in enumerate([(False, False), (True, False), (True, True)]):
        with session.open_call(0.5) as call:
            number = recorder.add_pass(call, 1)
            (recorder.add_reused if a_reused else recorder.add_computed)(call, a)
            (recorder.add_reused if b_reused else recorder.add_computed)(call, b)
            if index < 2:
                recorder.add_work(number, (a, b), Span(0.0, 4.0))
    report = session.close(seconds=1.0)
    assert (report.total_work, report.saved_work) == (12.0, 4.0)
    assert report.pieces == ((str(a), str(b)),)
    assert [call.work for call in report.calls] == [(4.0,), (4.0,), (0,)]
    assert report.piece_seconds == (((str(a), str(b)), 4.0),)
    assert report.num_reused == 3


def test_work_in_pieces_is_one_piece_per_pass() -> None:
    """A site timed in two spans per pass, for two branches: 3 s a pass, one of two passes saved."""
    session = toy.open_session(toy.fora(interval=2, anchor="start"), steps=2)
    site = toy.ToyAdapter(toy.ToyDiT(1)).sites(toy.Level.MODULE)[0]
    session.recorder.declare("toy", (site,))
    for reused in (False, True):
        with session.open_call(0.5) as call:
            number = session.recorder.add_pass(call, 2)
            for _ in range(2):
                (session.recorder.add_reused if reused else session.recorder.add_computed)(call, site)
            if not reused:
                session.recorder.add_work(number, (site,), Span(0.0, 1.0))
                session.recorder.add_work(number, (site,), Span(1.0, 3.0))
    report = session.close(seconds=1.0)
    assert (report.total_work, report.saved_work, report.cost_ratio) == (6.0, 3.0, 0.5)


def test_work_of_the_first_call_warms_up_and_is_left_out_of_the_mean() -> None:
    session = toy.open_session(toy.fora(interval=2, anchor="start"), steps=3)
    site = toy.ToyAdapter(toy.ToyDiT(1)).sites(toy.Level.MODULE)[0]
    session.recorder.declare("toy", (site,))
    for seconds in (100.0, 2.0, None):
        with session.open_call(0.5) as call:
            number = session.recorder.add_pass(call, 1)
            (session.recorder.add_reused if seconds is None else session.recorder.add_computed)(call, site)
            if seconds is not None:
                session.recorder.add_work(number, (site,), Span(0.0, seconds))
    report = session.close(seconds=1.0)
    assert (report.total_work, report.saved_work) == (6.0, 2.0)


def test_report_holds_no_tensor() -> None:
    session, network = toy.open_session(toy.fora()), toy.ToyDiT()
    toy.call(session, network, torch.ones(1, 1), [toy.lane()])
    report = session.close(seconds=1.0)
    parts = [report, report.memory, *report.calls]
    values = [getattr(part, name) for part in parts for name in part.__slots__]
    assert all(isinstance(value, str | int | float | tuple | MemoryReport | None) for value in values)

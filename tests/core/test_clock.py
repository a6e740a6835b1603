from __future__ import annotations

import time

import torch

from cache_core.clock import Clock, Span


def test_own_time_leaves_out_what_was_measured_inside() -> None:
    clock = Clock(torch.device("cpu"))
    outer = clock.start()
    inner = clock.start()
    time.sleep(0.02)
    clock.stop(inner)
    clock.stop(outer)
    assert outer.children == [inner]
    assert clock.seconds(inner) >= 0.02
    assert clock.own_seconds(outer) < 0.02 <= clock.seconds(outer)


def test_spans_are_measured_with_the_clock_that_is_given() -> None:
    clock = Clock(torch.device("cpu"), iter([1.0, 3.5]).__next__)
    span = clock.start()
    clock.stop(span)
    assert clock.seconds(span) == 2.5


def test_arithmetic() -> None:
    clock = Clock(torch.device("cpu"))
    assert clock.own_seconds(Span(1.0, 4.0, [Span(1.0, 2.0), Span(2.0, 2.5)])) == 1.5


def test_span_left_open_by_an_exception_counts_nothing_and_blocks_nothing() -> None:
    clock = Clock(torch.device("cpu"))
    outer = clock.start()
    lost = clock.start()
    clock.stop(outer)
    assert clock.seconds(lost) == 0.0
    following = clock.start()
    assert following not in outer.children

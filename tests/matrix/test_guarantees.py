"""The guarantees, for every cell of the matrix: one graph around a cached model each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import real
import torch
from cells import conditioning, models, patches, sampling
from cells.base import Cell, Runs
from cells.sampling import SAMPLERS, SCHEDULERS

CELLS = [*sampling.CELLS, *conditioning.CELLS, *patches.CELLS, *models.CELLS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its cells: the core, or with --matrix all."""
    if "cell" in metafunc.fixturenames:
        chosen = [cell for cell in CELLS if cell.core or metafunc.config.getoption("--matrix")]
        metafunc.parametrize("cell", chosen, ids=str, scope="module")


@pytest.fixture(scope="module")
def runs(host: real.Host, cell: Cell, attach: Callable[..., Any], last: Callable[..., Any]) -> Iterator[Runs]:
    """Return the runs of a cell; forgotten with it."""
    yield Runs(cell, attach, last)


def test_cells_have_names_of_their_own() -> None:
    names = [str(cell) for cell in CELLS]
    assert len(set(names)) == len(names)


def test_every_sampler_and_scheduler_of_the_menu_has_its_cell(host: real.Host) -> None:
    import comfy.samplers

    assert set(comfy.samplers.SAMPLER_NAMES) <= set(SAMPLERS)
    assert set(comfy.samplers.SCHEDULER_NAMES) <= set(SCHEDULERS)


def test_strictest_setting_is_bit_identical(runs: Runs) -> None:
    expected = runs.first
    assert torch.isfinite(expected).all()
    actual, report = runs.strict
    assert torch.equal(actual, expected)
    assert report.num_reused == 0 and report.num_computed > 0


def test_reuse_equals_the_oracle(runs: Runs) -> None:
    expected, _ = runs.expected
    assert torch.equal(runs.reused[0], expected)
    assert not torch.equal(expected, runs.first), "the oracle must have reused something"


def test_refresh_ratio_is_the_oracles_count(runs: Runs) -> None:
    _, replay = runs.expected
    calls = runs.reused[1].calls
    assert [[sum(call.computed), sum(call.reused)] for call in calls] == replay.counts


def test_second_run_is_identical(runs: Runs) -> None:
    first, report = runs.reused
    assert torch.equal(runs.cell.sample(runs.model), first)
    again = runs.report(runs.model)
    assert [call.reused for call in again.calls] == [call.reused for call in report.calls]
    assert (report.num_reused > 0) == runs.cell.reuses


def test_nothing_is_left(runs: Runs) -> None:
    assert runs.reused[1].end_bytes == 0
    assert torch.equal(runs.plain(), runs.first)
    assert real.instance_forwards(runs.loaded) == runs.forwards


def test_one_branch_at_a_time_makes_the_same_decisions(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    if not runs.cell.batches:
        pytest.skip("this graph's number of calls hangs on rounding")
    report = runs.reused[1]
    monkeypatch.setattr(runs.loaded.model, "memory_required", lambda *args, **kwargs: 1e30)
    runs.cell.sample(runs.model)
    separate = runs.report(runs.model)
    assert [call.reused for call in separate.calls] == [call.reused for call in report.calls]
    assert [call.computed for call in separate.calls] == [call.computed for call in report.calls]

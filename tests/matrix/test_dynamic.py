"""The guarantees for a schedule that looks before it decides, on the graphs around it.

FORA's cells know their schedule beforehand. Here the decision hangs on what the first pass of a call shows, so the
order of passes, extra passes and prompts that come and go could all lead it astray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dynamic
import pytest
import real
import torch
from cells import conditioning, patches, sampling
from cells.base import Cell, Runs
from replay import LEAVES, Replay

THRESHOLD = 1.0
"""Of the sum of changes: on these models some calls stay below it, and some do not."""

ALWAYS = {
    "area",
    "areas of one size",
    "cfg 4 batch 4",
    "denoise 0.7",
    "DualCFGGuider",
    "heun simple",
    "hook with keyframes",
    "SkipLayerGuidanceDiT",
    "standard_uniform",
    "timestep ranges",
    "whole run",
}
"""The graphs of every test run, around Flux: what makes passes come, go, multiply or change their order."""


def _is_chosen(cell: Cell) -> bool:
    """Leave out what cannot matter for the decision: the level, most samplers, guidance that adds no pass."""
    sampler, _, scheduler = cell.name.partition(" ")
    if cell.level != "module" or cell.group in ("precision", "weight streaming"):
        return False
    if cell.group == "sampler x scheduler":
        return cell.family == "flux" and scheduler == "simple" and sampler in sampling.KINDS
    if cell.group == "other packs' ways":
        return cell.family == "flux"
    return cell.group != "guidance nodes" or cell.name in patches.EXTRA_PASSES


def _named(cell: Cell) -> Cell:
    core = (cell.family, cell.order) == ("flux", "before") and cell.name in ALWAYS
    return replace(cell, group="dynamic schedules", name=f"{cell.group}: {cell.name}", core=core)


EVERY = [*sampling.CELLS, *conditioning.CELLS, *patches.CELLS]
CELLS = [_named(cell) for cell in EVERY if _is_chosen(cell)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its cells: the core, or with --matrix all."""
    if "cell" in metafunc.fixturenames:
        chosen = [cell for cell in CELLS if cell.core or metafunc.config.getoption("--matrix")]
        metafunc.parametrize("cell", chosen, ids=str, scope="module")


@pytest.fixture(scope="session")
def looking(host: real.Host) -> Callable[..., Any]:
    """Return a function that attaches a threshold on the modulated input: none at interval 1, else `THRESHOLD`."""
    core, binding = host.module("cache_core"), host.module("nodes.host")
    policy, _ = dynamic.threshold_types(core)

    def attach(model: Any, *, interval: int, level: str, anchor: str) -> Any:
        threshold = 0.0 if interval == 1 else THRESHOLD
        config = policy.config_type(threshold=threshold, level=level, indicator="modulated_input")
        return binding.attach(model, binding.CacheBinding(policy(config), 0.0, 1.0))

    return attach


@pytest.fixture(scope="module")
def runs(
    host: real.Host, cell: Cell, looking: Callable[..., Any], last: Callable[..., Any]
) -> Iterator[Runs]:
    """Return the runs of a cell; forgotten with it."""
    yield Runs(cell, looking, last)


def test_threshold_zero_is_bit_identical(runs: Runs) -> None:
    actual, report = runs.strict
    assert torch.equal(actual, runs.first)
    assert report.num_reused == 0 and report.num_computed > 0


def test_reuse_equals_the_oracle_that_is_told_what_was_decided(runs: Runs) -> None:
    cell = runs.cell
    if cell.family not in LEAVES or "two halves" in cell.name:
        pytest.skip("the decisions of one run are reported, the last")
    actual, report = runs.reused
    replay = Replay([{call.index for call in report.calls if call.full}])
    with replay.over(runs.loaded, cell.family, cell.level) as model:
        expected = cell.sample(cell.line(model))
    assert torch.equal(actual, expected)
    assert [[sum(call.computed), sum(call.reused)] for call in report.calls] == replay.counts
    assert (report.num_reused > 0) == cell.reuses


def test_every_call_looks_once_there_is_something_to_compare(runs: Runs) -> None:
    """A graph in which no call could look would be computed in full, and nothing would tell."""
    assert any(call.observed is not None for call in runs.reused[1].calls)


def test_second_run_is_identical_and_nothing_is_left(runs: Runs) -> None:
    first, report = runs.reused
    assert torch.equal(runs.cell.sample(runs.model), first)
    assert report.end_bytes == 0
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

"""From pictures and predictions to where corrections help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

import bench_corrections
import torch
from metrics.crew import Pace
from metrics.study.cells import Cell as Setting
from quality import sweep
from quality.corrections import CORRECTIONS, EOC, Measured, causes, energy, page, table

BARE: dict[str, Any] = {
    "interval": 2,
    "correction": "",
    "psnr": [40.0, 36.0],
    "energy": 4.0,
    "mean_share": 0.5,
}
ROW: dict[str, Any] = {
    "interval": 2,
    "correction": EOC,
    "psnr": [42.0, 37.0],
    "energy": 3.0,
    "mean_share": 0.1,
}


def _measured(row: dict[str, Any]) -> Measured:
    return Measured.of("flux", 1.5, "module", 0.25, row, BARE)


def test_squared_errors_add_up_over_the_steps() -> None:
    errors = torch.ones(3, 2, 1, 2, 2)
    errors[0] *= 2
    assert energy(errors) == 6.0


def test_a_gain_is_paired_and_its_errors_are_beside_the_bare_ones() -> None:
    found = _measured(ROW)
    assert (found.psnr, found.gain, found.low, found.high) == (39.5, 1.5, 1.0, 2.0)
    assert (found.left, found.explained) == (0.75, 0.25)
    assert _measured(BARE).gain == 0.0
    assert _measured({**ROW, "psnr": [39.0, 35.0]}).gain == -1.0


def test_where_predictions_were_not_looked_at_nothing_is_said_of_them() -> None:
    found = _measured({"interval": 2, "correction": "Forecast", "psnr": [42.0, 37.0]})
    assert found.left is None


def test_gains_beyond_their_interval_are_bold_and_others_are_not() -> None:
    name = "Flux, module, cfg 1.5, interval 2"
    assert f"| {name} | 38.0 | **+1.5 (+1.0 to +2.0)** |" in table([_measured(BARE), _measured(ROW)])
    worse = _measured({**ROW, "psnr": [39.0, 37.0]})
    assert f"| {name} | 38.0 | +0.0 (-1.0 to +1.0) |" in table([_measured(BARE), worse])


def test_the_page_says_why() -> None:
    found = [_measured(BARE), _measured(ROW)]
    assert "| Flux, module, cfg 1.5, interval 2 | 25% | 0.75 | **+1.5 (+1.0 to +2.0)** |" in causes(found)
    assert table(found) in page(found)
    assert causes(found) in page(found)


def test_all_corrections_are_on_top_at_the_level_of_the_papers_and_eoc_at_every_level() -> None:
    module, block = (
        bench_corrections.Job(Setting("euler", 20), level, range(2)) for level in bench_corrections.LEVELS
    )
    assert module.corrections == tuple(CORRECTIONS)
    assert block.corrections == ("", EOC)
    assert module.record != block.record


def test_a_page_of_a_part_is_not_written() -> None:
    for part in (["--models", "flux"], ["--seeds", "1"]):
        with pytest.raises(SystemExit):
            bench_corrections.main(part)


def test_priors_are_made_of_captions_that_are_not_measured() -> None:
    first, number = bench_corrections.FIRST_CALIBRATING_SEED, bench_corrections.NUM_CALIBRATING
    assert not set(range(first, first + number)) & set(range(bench_corrections.FIRST_SEED, first))


def test_jobs_with_a_record_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, due = (bench_corrections.Job(Setting("euler", 20, cfg), "module", range(2)) for cfg in (1.0, 4.0))
    order = bench_corrections.Order("flux", tmp_path / "flux")
    sweep.keep(order.folder, done, {"rows": [1]})
    asked: list[object] = []
    monkeypatch.setattr(sweep, "load_bench", lambda *_: None)
    monkeypatch.setattr(sweep, "measure_pace", lambda *_, **__: Pace(1.0, 0.0))
    monkeypatch.setattr(sweep, "do_all", lambda order, jobs, pace, workers: asked.extend(jobs))
    sweep.do_missing(order, [done, due], 1)
    sweep.do_missing(order, [done], 1)
    assert asked == [due]
    assert sweep.recall(order.folder, done) == {"rows": [1]}
    assert [path.name for path in order.folder.iterdir()] == ["euler_20_cfg1_module_2.json"]

"""The pages of the benchmark of quality say what the two CSV files say, and the files what the records say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

from metrics.study.cells import Cell as Setting
from metrics.study.store import write_record
from quality.fronts.contenders import fronts
from quality.fronts.frechet import distances, summaries
from quality.fronts.front import all_cells
from quality.fronts.kit import Place
from quality.fronts.pages import readme_block, summary, write_pages
from quality.fronts.plans import Plan
from quality.fronts.plots import pareto
from quality.fronts.rows import Table, duels, read_table, rows
from quality.fronts.settings import SIZES
from quality.fronts.sheets import (
    DISTANCES,
    DUELS,
    ROWS,
    Line,
    distance_line,
    duel_line,
    joined,
    read_lines,
    row_line,
    setting_of,
    write_lines,
)
from quality.fronts.tables import count_table, goal_table, verdict_table, winner_table
from quality.fronts.timing import key_of, timing_path
from quality.fronts.verdicts import GOALS, kind_of, verdicts

SETTING = Setting("euler", 20, 4.0)
NUM_SEEDS = 8
PSNR = {"step_list": 10.0, "fewer_steps": 4.0, "searched_steps": 7.0, "lazycache": 12.0}
"""Decibels of some fronts over those of the rest, at equal cost."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Return a setting whose PSNR is known: 40 times the cost, and what `PSNR` adds."""
    size = replace(SIZES["five-minutes"], seeds=NUM_SEEDS, pairs=1)
    found = Plan(Place(tmp_path / "work", SETTING), fronts(SETTING, "sd3", is_full=False), size)
    noise = np.random.default_rng(0).normal(0, 0.1, NUM_SEEDS)
    times = {}
    for front in (one for one in found.fronts if one.knob is None):
        for cell in front.cells:
            cost = cell.steps / 20 * cell.share
            psnr = 40 * cost + PSNR.get(front.name, 0.0) + noise
            for seeds in found.batches():
                write_record(found.record(cell, seeds), _record(cost, psnr))
            times[key_of(cell, found)] = np.array([cost, cost])
    write_record(timing_path(found, "thread", 0), times)
    return found


def _record(cost: float, psnr: np.ndarray[Any, Any]) -> dict[str, Any]:
    same = np.full(NUM_SEEDS, cost)
    return {"refresh": same, "cost": same, "psnr": psnr, "perceptual": 1 / psnr, "latent_error": 1 / psnr}


@pytest.fixture
def table(plan: Plan) -> Table:
    """Return what was measured of it."""
    return read_table(plan, "thread")


@pytest.fixture
def folder(table: Table, tmp_path: Path) -> Path:
    """Return a folder with both CSV files."""
    write_lines(tmp_path / ROWS, [row_line(row, "somewhere") for row in rows(table, "sd3")])
    write_lines(tmp_path / DUELS, [duel_line(duel) for duel in duels(table, "sd3")])
    return tmp_path


def test_a_row_holds_the_means_of_its_record(table: Table) -> None:
    [row] = [row for row in rows(table, "sd3") if row.cell == "fewer_steps_10"]
    assert row.cost == row.time == 0.5
    assert row.measures["psnr"].value == pytest.approx(24.0, abs=0.1)
    assert row.measures["psnr"].low < row.measures["psnr"].value < row.measures["psnr"].high


def test_a_cell_that_lacks_a_seed_is_no_row(plan: Plan) -> None:
    cell = plan.fronts[0].cells[0]
    plan.record(cell, plan.batches()[0]).unlink()
    assert cell.name not in [row.cell for row in rows(read_table(plan, "thread"), "sd3")]


def test_identical_pictures_are_counted_and_have_no_psnr(plan: Plan) -> None:
    cell = plan.fronts[0].cells[0]
    write_record(plan.record(cell, plan.batches()[0]), _record(1.0, np.full(NUM_SEEDS, np.inf)))
    row = rows(read_table(plan, "thread"), "sd3")[0]
    assert (row.num_identical, row.measures) == (NUM_SEEDS, {})
    assert row_line(row, "")["psnr"] == ""


@pytest.mark.parametrize("axis", ["cost", "time"])
def test_a_duel_is_read_where_the_rival_costs_the_same(table: Table, axis: str) -> None:
    [duel] = [
        duel
        for duel in duels(table, "sd3")
        if (duel.front, duel.speedup, duel.axis) == ("fewer_steps", 2.0, axis)
    ]
    assert duel.at == duel.rival_at == 0.5
    assert duel.gain.value == pytest.approx(6.0)
    assert duel.psnr - duel.rival_psnr == pytest.approx(6.0)


def test_a_rival_that_cannot_be_as_cheap_is_read_at_its_cheapest(table: Table) -> None:
    [duel] = [
        duel for duel in duels(table, "sd3") if (duel.front, duel.speedup, duel.axis) == ("fora", 3.0, "cost")
    ]
    assert duel.rival_at == pytest.approx(1.1 / 3)
    assert duel.at == pytest.approx(1 / 3)


def test_a_rival_that_takes_longer_is_no_rival_in_the_verdict(folder: Path) -> None:
    slower = [line | {"rival_at": "0.9"} for line in read_lines(folder / DUELS) if line["speedup"] == "2.0"]
    assert all(not verdict.rivals for verdict in verdicts(slower))


def test_ours_is_above_what_it_beats_and_says_by_how_much(folder: Path) -> None:
    [verdict] = [one for one in verdicts(read_lines(folder / DUELS)) if one.speedup == 2.0]
    assert {kind: rival.gain for kind, rival in verdict.rivals.items()} == pytest.approx(
        {"fewer": 6.0, "searched": 3.0, "method": 10.0}
    )
    assert verdict.best is not None
    assert verdict.best.title.startswith("fewer steps, searched")
    assert verdict.best.is_beaten


def test_a_rival_that_wins_is_named_with_its_margin(folder: Path) -> None:
    lines = read_lines(folder / DUELS)
    lost = next(line for line in lines if line["front"] == "fewer_steps" and line["axis"] == "time")
    lines = [lost | {"gain": "-3", "gain_low": "-4", "gain_high": "-2", "rival_psnr": "99", "speedup": "2.0"}]
    text = winner_table(verdicts(lines), 2.0)
    assert "fewer steps, +3.0 dB" in text
    assert "0 above, 1 below, of 1" in count_table(verdicts(lines))


def test_of_a_kind_the_best_is_the_rival(folder: Path) -> None:
    lines = [
        line for line in read_lines(folder / DUELS) if line["front"] == "fora" and line["speedup"] == "2.0"
    ]
    better = [line | {"front": "other", "title": "Other", "rival_psnr": "50"} for line in lines]
    for order in (lines + better, better + lines):
        [verdict] = verdicts(order)
        assert verdict.rivals["method"].title == "Other"


def test_combinations_of_this_project_are_no_rivals(folder: Path) -> None:
    kinds = {line["front"]: kind_of(line) for line in read_lines(folder / DUELS)}
    assert kinds["fora_forecast"] == ""
    assert kinds["fora"] == "method"


def test_a_setting_other_than_20_euler_steps_is_named_in_full(folder: Path) -> None:
    lines = [line | {"sampler": "heun", "steps": "28"} for line in read_lines(folder / DUELS)]
    assert "| SD3, Heun, 28 steps, cfg 4, 1.5 times |" in verdict_table(verdicts(lines))
    assert "| SD3, cfg 4, 1.5 times |" in verdict_table(verdicts(read_lines(folder / DUELS)))


def test_goals_are_met_and_missed_by_their_margins(folder: Path) -> None:
    found = verdicts(read_lines(folder / DUELS))
    by_text = {goal.text: [goal.is_met(one) for one in found] for goal in GOALS}
    assert by_text["2 times: 2 dB above searched noise levels"] == [None, True, None]
    assert "SD3 cfg 4" in goal_table(found)
    weak = [line | {"gain": "5.9", "gain_low": "5"} for line in read_lines(folder / DUELS)]
    assert GOALS[0].is_met(verdicts(weak)[1]) is False


def test_a_new_measurement_takes_the_place_of_its_own_setting_only(folder: Path) -> None:
    old = read_lines(folder / ROWS)
    other = [line | {"steps": "50"} for line in old[:2]]
    new = [line | {"psnr": "1"} for line in old[:1]]
    found = joined([*old, *other], new)
    assert found == [*new, *other]
    assert {setting_of(line)[2] for line in found} == {"20", "50"}


def test_files_read_back_as_they_were_written(folder: Path) -> None:
    lines = read_lines(folder / ROWS)
    write_lines(folder / "again.csv", lines)
    assert (folder / "again.csv").read_bytes() == (folder / ROWS).read_bytes()
    assert read_lines(folder / "none.csv") == []


def test_all_pages_and_plots_are_written_from_the_files(folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    write_pages(folder, {"a pack": "ImportError: gone"})
    text = (folder / "quality.md").read_text(encoding="utf-8")
    assert "| SD3, cfg 4, 2 times | 0.50 | 30.0 | 24.0 (**+6.0**) |" in text
    cost = text[text.index("## 20 Euler steps at equal cost") : text.index("## Everywhere")]
    assert "|  | cost | Step List, dB |" in cost
    assert "| SD3, cfg 4, 2 times | 0.50 | 30.0 | 24.0 (**+6.0**) |" in cost
    assert "* a pack: `ImportError: gone`" in text
    assert (folder / "quality_sd3.png").stat().st_size > 10_000
    assert (folder / "quality_sd3_cfg4.png").is_file()
    assert "10 steps" in (folder / "quality_sd3.md").read_text(encoding="utf-8")


def test_every_picture_that_the_summary_shows_is_written(folder: Path) -> None:
    lines = [line | {"sampler": "heun"} for line in read_lines(folder / ROWS)]
    assert "quality_sd3.png" not in summary(lines, [], [], {})


def test_pages_need_nothing_but_the_files(root: Path) -> None:
    program = (
        "import sys, quality.fronts.pages; sys.exit(bool({'torch', 'numpy', 'skimage'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], check=False, cwd=root / "benchmarks").returncode == 0
    )


def test_frechet_distances_come_when_all_is_drawn_and_are_in_the_summary(plan: Plan, folder: Path) -> None:
    drawing = replace(plan, size=replace(plan.size, samples=256))
    dice, jobs = np.random.default_rng(0), summaries(drawing)
    assert {job.cell.name for job in jobs} == {
        "data",
        "uncached",
        "fewer_steps_13",
        "fewer_steps_10",
        "step_list_1.5",
        "step_list_2",
    }
    for job in jobs:
        assert distances(drawing, "sd3") == []
        shift = 3.0 if job.cell.method == "fewer_steps" else 0.0
        samples = dice.normal(shift, 1, (len(job.seeds), 4))
        write_record(drawing.summary(job.cell, job.seeds), {"summary": samples})
    found = distances(drawing, "sd3")
    assert [one.excess.is_above_zero for one in found if one.title == "fewer steps"] == [True, True]
    write_lines(folder / DISTANCES, [distance_line(one, SETTING) for one in found])
    assert "SD3: fewer steps, 10 steps" in summary([], [], read_lines(folder / DISTANCES), {})


def test_frechet_distances_are_of_one_setting_only(plan: Plan) -> None:
    other = replace(plan, place=Place(plan.place.folder, Setting("heun", 20, 4.0)))
    assert summaries(replace(other, size=replace(plan.size, samples=256))) == []


def test_the_readme_has_the_rows_at_twice_the_speed(folder: Path, tmp_path: Path) -> None:
    block = readme_block(folder)
    assert "SD3, cfg 4, 2 times" in block
    assert "3 times" not in block
    assert "bench quality" in readme_block(tmp_path / "empty")


def test_the_best_are_those_that_nothing_cheaper_reaches() -> None:
    points = [(0.5, 30.0), (0.3, 25.0), (0.4, 24.0), (0.5, 31.0), (0.9, 31.0)]
    assert pareto(points) == [(0.3, 25.0), (0.5, 31.0)]


def test_cells_of_the_short_list_are_among_those_of_the_full_one() -> None:
    full = {cell.name for cell in all_cells(fronts(SETTING, "sd3", is_full=True)) if not cell.tuned[0]}
    short = {cell.name for cell in all_cells(fronts(SETTING, "sd3", is_full=False)) if not cell.tuned[0]}
    assert short <= full


def test_a_line_has_the_same_names_whatever_was_measured(table: Table) -> None:
    names: set[tuple[str, ...]] = {tuple(row_line(row, "")) for row in rows(table, "sd3")}
    assert len(names) == 1
    line: Line = row_line(rows(table, "sd3")[0], "")
    assert line["made"] == ""

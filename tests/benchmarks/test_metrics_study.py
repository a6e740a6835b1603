"""A study is drawn once, joined from its records, judged by its numbers, and written the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

from metrics.accuracy import KINDS
from metrics.crew import Pace, share_out
from metrics.intervals import Interval
from metrics.study.cells import FEWER, HEADLINE, SAMPLERS, STEPS, UNGUIDED, Cell, finest, grid, requests
from metrics.study.jobs import open_jobs
from metrics.study.measure import MEASURES, references_of
from metrics.study.pages import (
    Study,
    card_block,
    grid_table,
    page,
    read_study,
    spell,
    verdict_table,
    write_study,
)
from metrics.study.results import Headline, Row, Verdict, grid_rows, guidance_gain, headline, judge
from metrics.study.store import batches, fingerprint, read_all, read_record, record_path, write_record

NUM_SEEDS = 16
SEEDS = batches(NUM_SEEDS, 8)
CELLS = grid((4, 10, 20, 50), ("euler",))


def attributes(share: float, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Attribute counts of which about `share` are found."""
    found = np.random.default_rng(seed).random((count, len(KINDS))) < share
    return {"named": np.ones((count, len(KINDS))), "found": found.astype(float)}


def fill(folder: Path, psnr: float = 30.0) -> None:
    """Write records of a made-up grid whose cells find less the fewer steps they have."""
    for cell in CELLS:
        for seeds in SEEDS:
            share = 0.3 if cell == UNGUIDED else 0.5 + cell.steps / 120.0
            record = attributes(share, len(seeds), seeds.start)
            for reference in references_of(cell):
                for name in MEASURES:
                    record[f"{name}/{reference.name}"] = psnr + np.arange(len(seeds), dtype=float) / 8.0
            write_record(record_path(folder, cell.name, seeds), record)


def fill_headline(folder: Path, drift: float) -> None:
    """Write summaries where 10 steps are `drift` farther from the data, and find less by it too."""
    dice = np.random.default_rng(0)
    for seeds in batches(400, 16):
        features = dice.normal(size=(len(seeds), 4))
        for name, shift, share in (
            ("data", 0.0, 1.0),
            (HEADLINE.name, 0.0, 0.95),
            (FEWER.name, drift, 0.95 - drift),
        ):
            record = {"summary": features + shift, **attributes(share, len(seeds), seeds.start)}
            write_record(record_path(folder, f"summary_{name}", seeds), record)


def study(folder: Path) -> Study:
    fill(folder)
    fill_headline(folder, 0.3)
    rows, top = grid_rows(folder, CELLS, SEEDS), headline(folder, batches(400, 16))
    return Study("flux", "How it was measured.\n", rows, top, judge(rows, top, guidance_gain(folder, SEEDS)))


# --- what is drawn ---------------------------------------------------------------------------------------------


def test_a_full_grid_has_every_sampler_and_step_count_and_one_unguided_cell():
    cells = grid()
    assert {(cell.sampler, cell.steps) for cell in cells if cell.cfg == 4.0} == {
        (sampler, steps) for sampler in SAMPLERS for steps in STEPS
    }
    assert [cell for cell in cells if cell.cfg != 4.0] == [UNGUIDED]
    assert len(cells) == len(set(cells)) == 25


def test_references_are_drawn_before_what_is_compared_with_them():
    cells = grid()
    for cell in cells:
        if cell != HEADLINE and cell != finest(cell):
            assert all(cells.index(reference) < cells.index(cell) for reference in references_of(cell))


def test_no_cell_is_compared_with_itself_and_an_unguided_one_with_none():
    assert all(cell not in references_of(cell) for cell in grid())
    assert references_of(UNGUIDED) == ()
    assert references_of(Cell("heun", 10)) == (Cell("heun", 50), HEADLINE)


def test_heun_takes_two_calls_a_step_but_the_last_and_guidance_two_passes_a_call():
    assert (Cell("heun", 10).num_calls, Cell("heun", 10).num_passes) == (19, 38)
    assert (UNGUIDED.num_calls, UNGUIDED.num_passes) == (20, 20)


def test_each_seed_has_its_own_held_out_caption():
    asked = requests(HEADLINE, range(6))
    assert [one.seed for one in asked] == list(range(6))
    assert len({one.caption for one in asked}) == 6


# --- what is kept ----------------------------------------------------------------------------------------------


def test_what_has_its_record_is_not_drawn_again(tmp_path):
    everything = open_jobs(tmp_path, CELLS, NUM_SEEDS, 32)
    assert len(everything) == len(CELLS) * 2 + 3 * 2
    fill(tmp_path)
    left = open_jobs(tmp_path, CELLS, NUM_SEEDS, 32)
    assert [job.record for job in left] == [
        "summary_euler_20_cfg4", "summary_euler_10_cfg4", "summary_data",
    ] * 2  # fmt: skip
    record_path(tmp_path, CELLS[1].name, SEEDS[1]).unlink()
    assert len(open_jobs(tmp_path, CELLS, NUM_SEEDS, 0)) == 1


def test_more_seeds_go_on_from_the_earlier_ones(tmp_path):
    fill(tmp_path)
    jobs = open_jobs(tmp_path, CELLS, NUM_SEEDS + 8, 0)
    assert {job.seeds for job in jobs} == {range(16, 24)}


def test_jobs_of_one_batch_stay_together_and_none_is_lost(tmp_path):
    jobs = open_jobs(tmp_path, CELLS, 32, 64)
    hands = share_out(jobs, 3)
    assert sorted(map(repr, (job for hand in hands for job in hand))) == sorted(map(repr, jobs))
    for hand in hands:
        for other in hands:
            if hand is not other:
                assert not {(job.is_headline, job.seeds) for job in hand} & {
                    (job.is_headline, job.seeds) for job in other
                }


def test_idle_workers_get_no_hand(tmp_path):
    jobs = open_jobs(tmp_path, CELLS, 8, 0)
    assert len(share_out(jobs, 4)) == 1


def test_time_grows_with_passes_and_pictures(tmp_path):
    jobs = open_jobs(tmp_path, (HEADLINE,), 8, 0)
    assert Pace(per_pass=0.5, per_picture=2.0).seconds(jobs) == 8 * (40 * 0.5 + 2.0)


def test_a_record_is_read_as_it_was_written_and_leaves_no_partial_file(tmp_path):
    path = tmp_path / "cell" / "0.npz"
    write_record(path, {"a/b": np.arange(3.0)})
    assert read_record(path)["a/b"].tolist() == [0.0, 1.0, 2.0]
    assert [one.name for one in path.parent.iterdir()] == ["0.npz"]


def test_records_are_joined_in_the_order_of_the_seeds(tmp_path):
    for seeds in SEEDS:
        write_record(record_path(tmp_path, "cell", seeds), {"seed": np.array(seeds, float)})
    assert read_all(tmp_path, "cell", SEEDS)["seed"].tolist() == list(range(16))


def test_another_checkpoint_or_precision_has_another_fingerprint(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"one")
    first = fingerprint([path], ["float32"])
    assert fingerprint([path], ["float32"]) == first
    assert fingerprint([path], ["bfloat16"]) != first
    path.write_bytes(b"two")
    assert fingerprint([path], ["float32"]) != first


# --- what is concluded -----------------------------------------------------------------------------------------


def test_a_row_is_the_mean_over_all_seeds(tmp_path):
    fill(tmp_path, psnr=30.0)
    rows = grid_rows(tmp_path, CELLS, SEEDS)
    [row] = [row for row in rows if row.steps == 10 and row.against == "euler 20"]
    assert row.measures["psnr"].value == pytest.approx(30.0 + 3.5 / 8.0)
    assert row.measures["psnr"].low < row.measures["psnr"].value < row.measures["psnr"].high
    assert [one.steps for one in rows if one.cfg == 4.0 and one.against == "euler 50"] == [4, 10, 20]


@pytest.mark.parametrize(("psnr", "holds"), [(33.0, True), (34.5, False)])
def test_a_model_whose_pictures_hardly_change_is_too_easy(tmp_path, psnr, holds):
    fill(tmp_path, psnr)
    verdicts = judge(grid_rows(tmp_path, CELLS, SEEDS), None, None)
    assert [verdict.holds for verdict in verdicts] == [holds]


@pytest.mark.parametrize(("drift", "holds"), [(0.3, True), (0.0, False)])
def test_ten_steps_must_be_worse_than_twenty_beyond_the_interval(tmp_path, drift, holds):
    fill_headline(tmp_path, drift)
    top = headline(tmp_path, batches(400, 16))
    [verdict] = [one for one in judge([], top, None) if one.claim.startswith("difficulty")]
    assert verdict.holds is holds
    if not drift:
        assert top.frechet_difference == Interval(0.0, 0.0, 0.0)
        assert top.accuracy["10 - 20 steps"] == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize(("reached", "holds"), [(0.91, True), (0.89, False)])
def test_quality_is_judged_against_the_data(reached, holds):
    def at(value: float) -> Interval:
        return Interval(value, value, value)

    top = Headline(
        num_samples=400,
        accuracy={"data": at(0.9), "20 steps": at(0.9 * reached), "10 - 20 steps": at(0.0)},
        kinds={}, frechet={}, frechet_difference=at(0.0),
    )  # fmt: skip
    [verdict] = [one for one in judge([], top, None) if one.claim.startswith("quality")]
    assert verdict.holds is holds
    assert f"{100 * reached:.1f} %" in verdict.found


def test_guidance_that_names_more_passes(tmp_path):
    fill(tmp_path)
    gain = guidance_gain(tmp_path, SEEDS)
    assert gain.is_above_zero
    [verdict] = judge([], None, gain)
    assert verdict.holds


def test_too_few_samples_for_the_headline_are_refused(tmp_path):
    for name in ("data", HEADLINE.name, FEWER.name):
        record = {"summary": np.zeros((16, 64)), **attributes(1.0, 16)}
        write_record(record_path(tmp_path, f"summary_{name}", range(16)), record)
    with pytest.raises(ValueError, match="draw more seeds"):
        headline(tmp_path, [range(16)])


# --- what is written -------------------------------------------------------------------------------------------


def test_a_grid_row_is_written_like_this():
    value = Interval(31.2345, 30.9, 31.5)
    row = Row("euler", 10, 4.0, "euler 20", dict.fromkeys(MEASURES, value), Interval(0.7712, 0.76, 0.78))
    assert grid_table([row]).splitlines()[-1] == (
        "| euler | 10 | 4 | euler 20 | 31.23 (30.90 to 31.50) | 31.2345 (30.9000 to 31.5000) | "
        "31.2345 (30.9000 to 31.5000) | 31.2345 (30.9000 to 31.5000) | 0.771 (0.760 to 0.780) |"
    )


def test_what_was_not_measured_is_a_dash():
    assert spell(None, 2) == "-"
    row = Row("euler", 20, 1.0, "", {}, Interval(0.5, 0.4, 0.6))
    assert (
        grid_table([row]).splitlines()[-1]
        == "| euler | 20 | 1 | - | - | - | - | - | 0.500 (0.400 to 0.600) |"
    )


def test_a_verdict_says_pass_or_fail():
    lines = verdict_table([Verdict("a", "1", True), Verdict("b", "2", False)]).splitlines()
    assert lines[-2:] == ["| a | 1 | pass |", "| b | 2 | FAIL |"]


def test_a_study_is_read_as_it_was_written_and_written_the_same_again(tmp_path):
    one = study(tmp_path / "records")
    write_study(one, tmp_path / "first")
    read = read_study(tmp_path / "first" / "zoo_flux.json")
    assert (read.rows, read.headline, read.verdicts) == (one.rows, one.headline, one.verdicts)
    write_study(read, tmp_path / "second")
    for name in ("zoo_flux.json", "zoo_flux.png", "zoo.md"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_page_has_a_part_for_every_model_and_the_card_only_the_euler_rows(tmp_path):
    one = study(tmp_path / "records")
    text = page([one, Study("sd3", one.note, one.rows, None, one.verdicts)])
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## flux", "## sd3"]
    assert "400 samples" in text
    assert "euler 50 |" not in card_block(one)
    assert "| euler | 10 | 4 | euler 20 |" in card_block(one)

"""The benchmark of methods: what each definition computes, what is compared, and that fewer steps are met fairly."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("skimage", reason="scikit-image is not installed")

from metrics.study.store import read_record, record_path, write_record
from quality.arithmetic import (
    block_caching_ratio,
    fora_ratio,
    mask_ratio,
    router_ratio,
    step_list_ratio,
    threshold_ratio,
)
from quality.calibration import FIRST_SEED, parts, threshold_for
from quality.cells import DATA, FEWER_STEPS, UNCACHED, Cell, data, needs_file
from quality.code import key_of, parts_of
from quality.distances import distances
from quality.kit import Kit, straight_steps
from quality.methods import cells, groups
from quality.results import matches, rival, rows, steps_as_long
from quality.timing import beside, timing_path
from quality.work import HEADLINE_BATCH, open_jobs, take_over

NUM_SEEDS = 8


# --- what a definition computes ---------------------------------------------------------------------------------


def test_fora_of_interval_2_over_20_steps_computes_half_and_from_the_end_the_first_step_too() -> None:
    assert fora_ratio(20, 2, "start") == 10 / 20
    assert fora_ratio(20, 2, "end") == 11 / 20


def test_fora_of_interval_3_counted_back_from_the_last_of_20_computes_eight() -> None:
    # 19, 16, 13, 10, 7, 4, 1 and step 0.
    assert fora_ratio(20, 3, "end") == 8 / 20


def test_a_step_list_computes_the_whole_number_of_steps_nearest_to_its_speedup_and_at_least_one() -> None:
    assert [step_list_ratio(20, speedup) for speedup in (1.5, 2.0, 3.0, 50.0)] == [0.65, 0.5, 0.35, 0.05]


def test_fora_of_interval_2_on_the_first_half_only_is_a_quarter_cached() -> None:
    assert fora_ratio(20, 2, "start", reuse_until=10) == 0.75


def test_a_block_is_computed_again_once_its_changes_exceed_delta() -> None:
    # The first column adds up to 0.4 and is never computed again; the second exceeds 0.5 in steps 2 and 4.
    profile = np.array([[9.0, 9.0], [0.1, 0.3], [0.1, 0.3], [0.1, 0.3], [0.1, 0.3]])
    assert block_caching_ratio(profile, 0.5) == pytest.approx((1 + 3) / 10)
    assert block_caching_ratio(profile, 0.0) == 1.0


def test_a_router_counts_only_in_the_steps_it_decides() -> None:
    scores = np.array([[-5.0, -5.0], [5.0, -5.0], [-5.0, -5.0], [-5.0, -5.0]])
    assert router_ratio(scores, 0.1, lambda step: step > 0) == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert router_ratio(scores, 0.1, lambda step: step % 2 == 1) == pytest.approx((1 + 0.5 + 1 + 0) / 4)


def test_a_mask_computes_its_first_step_whatever_it_says() -> None:
    assert mask_ratio(np.array([[False, False], [True, False]])) == 0.75


def test_a_threshold_skips_until_changes_add_up_to_it_and_computes_the_last_call() -> None:
    # Calls 0, 2 (0.6 >= 0.5), 4 and the last, 5.
    assert threshold_ratio([0.3, 0.3, 0.3, 0.3, 0.1], 0.5) == pytest.approx(4 / 6)
    assert threshold_ratio([0.3, 0.3, 0.3, 0.3, 0.1], 0.0) == 1.0


def test_the_threshold_for_a_share_is_the_least_that_computes_no_more() -> None:
    runs = [[0.2] * 9, [0.1] * 9]
    found = threshold_for(runs, 0.5)

    def share(threshold: float) -> float:
        return sum(threshold_ratio(run, threshold) for run in runs) / 2

    assert share(found) <= 0.5 < share(found - 1e-6)


# --- what is compared -------------------------------------------------------------------------------------------


def test_names_of_cells_are_unique_and_the_uncached_run_comes_first() -> None:
    names = [cell.name for cell in cells()]
    assert len(set(names)) == len(names)
    assert names[0] == UNCACHED


def test_every_method_is_measured_and_a_new_one_without_a_file_at_its_defaults() -> None:
    import cache_core

    own = {
        name for name in cache_core.POLICIES if cache_core.POLICIES[name].__module__.startswith("cache_core.")
    }
    need_a_file = {name for name in own if needs_file(cache_core.POLICIES[name])}
    assert own - need_a_file <= set(groups(cache_core))
    assert set(cache_core.CORRECTIONS) <= set(groups(cache_core))
    assert set(groups()) <= set(groups(cache_core))


def test_a_new_method_gets_one_cell_at_its_defaults() -> None:
    import cache_core

    class New(cache_core.POLICIES["fora"]):  # type: ignore[misc]
        name, title = "new", "New"

    core = SimpleNamespace(POLICIES={"new": New}, CORRECTIONS={})
    [cell] = [cell for cell in cells(core=core) if cell.group == "new"]
    assert (cell.label, cell.settings, cell.is_dynamic) == ("New, default settings", (), False)


def test_choosing_a_correction_keeps_the_bare_cache_and_fewer_steps() -> None:
    chosen = cells(["error_optimized"])
    found = {cell.name for cell in chosen}
    assert {cell.against for cell in chosen if cell.against} <= found
    assert {cell.group for cell in chosen} == {UNCACHED, FEWER_STEPS, "fora", "error_optimized"}


def test_goc_is_measured_without_the_steps_at_which_features_turn_back() -> None:
    chosen = [cell for cell in cells() if cell.correction_tuned[0]]
    assert [cell.against for cell in chosen] == [f"fora_{reuse}_percent" for reuse in (25, 50, 75)]
    assert all(parts_of(cell) == ["prior"] and not cell.is_headline for cell in chosen)
    assert len({cell.definition for cell in cells()}) == len(cells())


def test_goc_gets_the_steps_that_the_prior_does_not_name() -> None:
    import published

    import cache_core

    sites = published.pixart_sites(1)
    there, back = torch.ones(1, 4), -torch.ones(1, 4)
    prior = cache_core.Artefact(
        kind=cache_core.Kind.PRIOR,
        method="error_optimized",
        architecture=published.architecture("pixart", sites),
        sampling=cache_core.Sampling(num_steps=5),
        tensors={f"prior.{sites[0]}.0.0": torch.stack([0 * there, there, there, back, back])},
    )
    steps = straight_steps(cache_core, prior)
    assert steps == "0, 1, 2, 4"
    cell = next(cell for cell in cells() if cell.correction_tuned[0])
    policy = Kit(SimpleNamespace(core=cache_core), {}, {"straight_steps": steps}).policy(cell)
    assert policy.config.steps == steps


def test_calibration_and_measurement_share_no_seed_and_no_caption() -> None:
    taken = [seed for part in parts() for seed in part.seeds]
    assert len(set(taken)) == len(taken)
    assert min(taken) >= FIRST_SEED > 10_000


# --- what is still to be done -----------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_with_what_lacks_its_record(tmp_path: Path) -> None:
    chosen = cells(["mask"])
    first = open_jobs(tmp_path, chosen, NUM_SEEDS, 0)
    write_record(record_path(tmp_path, first[3].record, first[3].seeds), {"psnr": np.ones(NUM_SEEDS)})
    assert open_jobs(tmp_path, chosen, NUM_SEEDS, 0) == [*first[:3], *first[4:]]


def test_headline_cells_come_with_the_data(tmp_path: Path) -> None:
    jobs = open_jobs(tmp_path, cells(["fora"]), 0, HEADLINE_BATCH)
    assert all(job.is_headline for job in jobs)
    assert data() in [job.cell for job in jobs]


def test_headline_records_of_the_zoo_are_taken_over_and_never_replace_ours(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    seeds = range(HEADLINE_BATCH)
    write_record(record_path(theirs, "summary_euler_20_cfg4", seeds), {"summary": np.ones((16, 2))})
    write_record(record_path(theirs, "summary_data", seeds), {"summary": np.ones((16, 2))})
    write_record(record_path(ours, f"summary_{DATA}", seeds), {"summary": np.zeros((16, 2))})
    take_over(theirs, ours)
    assert read_record(record_path(ours, f"summary_{UNCACHED}", seeds))["summary"].min() == 1.0
    assert read_record(record_path(ours, f"summary_{DATA}", seeds))["summary"].max() == 0.0


# --- fewer steps -------------------------------------------------------------------------------------------------


def test_a_rival_between_two_numbers_of_steps_is_interpolated_seed_by_seed() -> None:
    curve = {10: np.array([30.0, 32.0]), 12: np.array([34.0, 38.0])}
    found = rival(np.array([33.0, 36.0]), 11.0, curve)
    assert found is not None
    assert found.psnr == pytest.approx((32.0 + 35.0) / 2)
    assert found.gain.value == pytest.approx(1.0)


def test_there_is_no_rival_beyond_what_was_measured() -> None:
    curve = {10: np.array([30.0, 32.0]), 12: np.array([34.0, 38.0])}
    assert rival(np.ones(2), 9.9, curve) is None
    assert rival(np.ones(2), 12.1, curve) is None
    assert rival(np.ones(2), None, curve) is None


def test_a_measured_number_of_steps_is_its_own_rival() -> None:
    curve = {10: np.array([30.0, 32.0]), 12: np.array([34.0, 38.0])}
    found = rival(np.array([34.0, 38.0]), 12.0, curve)
    assert found is not None
    assert found.gain.value == 0.0


def test_seeds_with_the_uncached_picture_are_left_out_of_a_difference() -> None:
    curve = {10: np.array([30.0, 31.0, 32.0])}
    found = rival(np.array([np.inf, 32.0, 33.0]), 10.0, curve)
    assert found is not None
    assert found.gain.value == pytest.approx(1.0)


def test_steps_that_take_as_long_are_read_off_between_those_timed() -> None:
    assert steps_as_long(0.6, {10: 0.5, 15: 0.75}) == pytest.approx(12.0)
    assert steps_as_long(0.4, {10: 0.5, 15: 0.75}) is None


# --- time --------------------------------------------------------------------------------------------------------


def test_a_cell_is_timed_over_the_uncached_runs_around_it() -> None:
    # The machine slows down: uncached runs take 1, then 3 seconds.
    plain = iter([1.0, 3.0])
    timed = beside(["half"], lambda name: next(plain) if name == UNCACHED else 1.0)
    assert timed["half"].ratio == pytest.approx(1.0 / 2.0)
    assert timed[UNCACHED].seconds == pytest.approx(2.0)


def test_uncached_runs_stand_between_every_few_cells() -> None:
    ran: list[str] = []

    def run(name: str) -> float:
        ran.append(name)
        return 1.0

    names = [f"cell {number}" for number in range(9)]
    beside(names, run)
    assert [index for index, name in enumerate(ran) if name == UNCACHED] == [0, 5, 10, 12]
    assert [name for name in ran if name != UNCACHED] == names


# --- rows --------------------------------------------------------------------------------------------------------


def fill(folder: Path, chosen: tuple[Cell, ...], scores: dict[str, float]) -> None:
    """Write made-up records: PSNR by name, else 30 dB; cost and refresh as planned; one picture timed."""
    seeds = range(NUM_SEEDS)
    wobble = np.linspace(-1.0, 1.0, NUM_SEEDS)
    for cell in chosen:
        share = cell.steps / 20 * cell.share
        write_record(
            record_path(folder, key_of(cell), seeds),
            {
                "refresh": np.full(NUM_SEEDS, share),
                "cost": np.full(NUM_SEEDS, share),
                "psnr": scores.get(cell.name, 30.0) + wobble,
                "ssim": np.full(NUM_SEEDS, 0.9),
                "perceptual": np.full(NUM_SEEDS, 0.1),
                "latent_error": np.full(NUM_SEEDS, 0.05),
            },
        )
    timed = {
        key_of(cell): np.array([cell.steps / 20 * cell.share, cell.steps / 20 * cell.share])
        for cell in chosen
    }
    write_record(timing_path(folder, "wall", 0), timed)


def test_a_row_is_compared_with_fewer_steps_of_its_cost_and_of_its_time(tmp_path: Path) -> None:
    chosen = cells(["mask"])
    fill(tmp_path, chosen, {"mask_50": 33.0})
    found = {row.name: row for row in rows(tmp_path, chosen, NUM_SEEDS, 1, "wall")}
    assert UNCACHED not in found
    for other in (found["mask_50"].at_cost, found["mask_50"].at_time):
        assert other is not None
        assert other.steps == pytest.approx(10.0)
        assert other.gain.value == pytest.approx(3.0)
    assert found["fewer_steps_10"].at_cost is None


def test_a_cell_without_timing_still_has_its_row(tmp_path: Path) -> None:
    chosen = cells(["mask"])
    fill(tmp_path, chosen, {})
    [row] = [row for row in rows(tmp_path, chosen, NUM_SEEDS, 0, "wall") if row.name == "mask_50"]
    assert (row.time, row.at_time) == (None, None)
    assert row.at_cost is not None


def test_dynamic_cells_are_matched_with_identity_at_their_own_refresh_ratio(tmp_path: Path) -> None:
    chosen = cells(["teacache"])
    fill(tmp_path, chosen, {"teacache_identity_50": 33.0, "teacache_fitted_50": 35.0})
    found = {one.name: one.rival for one in matches(tmp_path, chosen, NUM_SEEDS)}
    matched = found["teacache_fitted_50"]
    assert matched is not None
    assert matched.gain.value == pytest.approx(2.0)


def test_a_correction_that_restores_the_uncached_pictures_takes_the_whole_distance_away(
    tmp_path: Path,
) -> None:
    chosen = cells(["error_optimized"])
    dice = np.random.default_rng(0)
    features, noise = dice.normal(size=(64, 4)), dice.normal(size=(64, 4))
    for cell in [*chosen, data()]:
        drift = {"fora_50_percent": 0.5 * noise, "data": -0.2 * features}.get(cell.name, 0.0 * noise)
        for start in range(0, 64, HEADLINE_BATCH):
            part = slice(start, start + HEADLINE_BATCH)
            seeds = range(start, start + HEADLINE_BATCH)
            summary = features[part] + drift[part]
            write_record(record_path(tmp_path, f"summary_{key_of(cell)}", seeds), {"summary": summary})
    found = {one.name: one for one in distances(tmp_path, chosen, 64)}
    corrected = found["fora_50_percent_error_optimized"]
    assert corrected.change_to_uncached is not None and corrected.bare is not None
    assert corrected.change_to_uncached.value == pytest.approx(-corrected.bare[1])
    assert found[UNCACHED].to_uncached == pytest.approx(0.0, abs=1e-9)
    assert found["fora_50_percent"].excess.value > 0.0


def test_there_are_no_distances_without_samples(tmp_path: Path) -> None:
    assert distances(tmp_path, cells(["error_optimized"]), 0) == []


def test_records_are_plain_json(tmp_path: Path) -> None:
    from quality.pages import Study, to_record

    chosen = cells(["mask"])
    fill(tmp_path, chosen, {})
    study = Study("flux", "", rows(tmp_path, chosen, NUM_SEEDS, 1, "wall"), [], [], chosen, {}, {})
    assert json.loads(json.dumps(to_record(study))) == to_record(study)


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["--seeds", "1"], ["--samples", "255"], ["--samples", "-1"], ["--pairs", "-1"]]
)
def test_numbers_that_give_no_interval_are_refused_before_anything_is_drawn(arguments: list[str]) -> None:
    import bench_methods

    with pytest.raises(SystemExit, match="expected 2 or more seeds"):
        bench_methods.main(arguments)


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    import bench_methods

    with pytest.raises(SystemExit, match=r"got --methods tea; expected some of fora teacache"):
        bench_methods._require_methods(["tea", "fora"], ["fora", "teacache"])

"""The benchmark of routers: what is compared, what lacks its file, who beats whom, and where random ones lie."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

import torch
from metrics.study.store import record_path, write_record
from published import architecture, flux_sites
from quality import trained
from quality.arithmetic import fora_ratio
from quality.cells import UNCACHED, Cell, data
from quality.code import key_of, parts_of
from quality.kit import Kit
from quality.methods import cells
from quality.results import rows
from quality.routers.contenders import (
    NUM_RANDOM,
    PROBED,
    RANDOM_SEEDS,
    WINDOWS,
    lessons_of,
    random_names,
    rivals,
    router_cells,
    router_name,
)
from quality.routers.findings import find_pairs, find_randoms
from quality.timing import time_pictures, timing_path
from quality.work import HEADLINE_BATCH, open_jobs
from zoo.routers import BY_HAND

import cache_core

ALL = [lesson.name for lesson in lessons_of("flux")]
FULL = router_cells("flux", ALL)
FIRST = router_name("learning_to_cache", 22)
SITES = flux_sites(2, 3)
WIDTH = 8


def named(name: str) -> Cell:
    [cell] = [cell for cell in FULL if cell.name == name]
    return cell


# --- what is compared ---------------------------------------------------------------------------------------------


def test_names_of_cells_are_unique_and_the_uncached_run_comes_first() -> None:
    names = [cell.name for cell in FULL]
    assert len(set(names)) == len(names)
    assert names[0] == UNCACHED


def test_the_files_are_those_that_the_zoo_ships() -> None:
    assert ALL == [
        "zoo_flux_learning_to_cache_20_steps_15_reused",
        "zoo_flux_learning_to_cache_20_steps",
        "zoo_flux_harmonica_20_steps_25_reused",
        "zoo_flux_learning_to_cache_20_steps_40_reused",
        "zoo_flux_harmonica_20_steps",
        "zoo_flux_harmonica_20_steps_55_reused",
        "zoo_flux_scale_shift_20_steps",
    ]


@pytest.mark.parametrize("reuse", WINDOWS)
def test_foras_windows_reuse_the_share_they_are_named_after(reuse: int) -> None:
    interval, until, _ = WINDOWS[reuse]
    assert fora_ratio(20, interval, "start", until) == pytest.approx(1 - reuse / 100)
    cell = named(f"fora_{reuse}_percent")
    assert (dict(cell.settings)["interval"], cell.reuse_until) == (interval, until)


def test_what_both_benchmarks_draw_has_one_record() -> None:
    theirs = {cell.name: key_of(cell) for cell in cells()}
    shared = {cell.name: key_of(cell) for cell in FULL if cell.name in theirs}
    assert {"fora_25_percent", "fewer_steps_10", UNCACHED} <= set(shared)
    assert all(theirs[name] == key for name, key in shared.items())


def test_the_headline_is_drawn_for_what_the_expectations_compare() -> None:
    headline = {cell.name for cell in FULL if cell.is_headline}
    assert headline == {
        UNCACHED,
        "fewer_steps_10",
        *(router_name("learning_to_cache", reused) for reused in (15, 22, 40)),
        *(router_name("harmonica", reused) for reused in (25, 40, 55)),
        f"{FIRST}_error_optimized",
        f"{FIRST}_gradient_optimized",
        "fora_20_percent",
        "fora_40_percent",
        "fora_55_percent",
        "block_caching_scale_shift",
        "block_caching_unadjusted",
    }


def test_three_routers_are_compared_with_twenty_random_ones_each_and_with_themselves_reversed() -> None:
    found = {cell.name for cell in FULL}
    for method, reused in PROBED:
        names = random_names(method, reused)
        assert len(names) == NUM_RANDOM == 20
        assert {*names, f"{method}_{reused}_reversed"} <= found
    assert len({named(name).variant for name in random_names(*PROBED[0])}) == 20


def test_a_correction_keeps_the_router_that_it_comes_on_top_of() -> None:
    corrected, bare = named(f"{FIRST}_error_optimized"), named(FIRST)
    assert (corrected.method, corrected.artefact) == (bare.method, bare.artefact)
    assert parts_of(corrected) == [bare.artefact, "prior"]


def test_a_family_without_files_is_measured_on_what_needs_none() -> None:
    found = router_cells("flux", [])
    assert {cell.group for cell in found} == {UNCACHED, "fewer_steps", "fora"}
    assert rivals(found) == []


def test_a_file_that_is_not_there_takes_what_is_made_of_it_along() -> None:
    found = {cell.name for cell in router_cells("flux", [name for name in ALL if "40_reused" not in name])}
    assert not any(name.startswith("learning_to_cache_40") for name in found)
    assert {FIRST, f"{FIRST}_error_optimized", "harmonica_40_reversed"} <= found


# --- the files ----------------------------------------------------------------------------------------------------


def artefact(kind: cache_core.Kind, **changes: Any) -> cache_core.Artefact:
    level = cache_core.Level.MODULE if kind is cache_core.Kind.ROUTER else cache_core.Level.BLOCK
    sites = SITES if level is cache_core.Level.MODULE else flux_blocks()
    dice = torch.Generator().manual_seed(5)
    tensors = {
        cache_core.Kind.ROUTER: {"score": torch.randn(20, len(sites), generator=dice)},
        cache_core.Kind.PROFILE: {"profile": torch.rand(20, len(sites), generator=dice)},
    }[kind]
    given = {
        "kind": kind,
        "method": "learning_to_cache",
        "architecture": replace(architecture("flux", sites, hidden_size=WIDTH), level=level),
        "sampling": cache_core.Sampling(num_steps=20),
        "tensors": tensors,
    }
    return cache_core.Artefact(**(given | changes))


def flux_blocks() -> Any:
    return tuple(
        cache_core.Site(level=cache_core.Level.BLOCK, path="double_blocks", index=index, part="")
        for index in range(2)
    )


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that takes the place of the zoo's trained files."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(trained, "FOLDER", folder)
    return folder


def ship(folder: Path, name: str, **changes: Any) -> None:
    kind = cache_core.Kind.PROFILE if "scale" in name else cache_core.Kind.ROUTER
    cache_core.write_artefact(artefact(kind, **changes), folder / f"{name}.safetensors")


def test_files_that_are_not_there_or_made_by_hand_are_missing(shipped: Path) -> None:
    ship(shipped, "learned", threshold=0.3)
    ship(shipped, "hand_made", threshold=0.1, made={"source": BY_HAND})
    assert trained.missing(cache_core, ["learned", "hand_made", "absent"]) == ["hand_made", "absent"]


def test_the_policy_gets_the_threshold_that_a_router_was_trained_for(shipped: Path) -> None:
    ship(shipped, "learned", threshold=0.3)
    kit = Kit(SimpleNamespace(core=cache_core), {}, {})
    cell = Cell(name="x", label="x", method="learning_to_cache", artefact="learned")
    policy = kit.policy(cell)
    assert policy.config.threshold == pytest.approx(0.3)
    assert kit.predicted(cell, policy, []) == pytest.approx(_share_of(policy))


@pytest.mark.parametrize("variant", ["reversed", "random 7"])
def test_a_variant_costs_what_the_trained_router_costs(shipped: Path, variant: str) -> None:
    ship(shipped, "learned", threshold=0.5)
    kit = Kit(SimpleNamespace(core=cache_core), {}, {})
    own = Cell(name="x", label="x", method="learning_to_cache", artefact="learned")
    other = replace(own, variant=variant)
    one, two = (kit.predicted(cell, kit.policy(cell), []) for cell in (own, other))
    assert one == two
    assert not torch.equal(*(kit.policy(cell).config.router.tensors["score"] for cell in (own, other)))


def test_the_same_profile_is_read_without_its_scale_and_shift_at_the_delta_they_were_trained_for(
    shipped: Path,
) -> None:
    plain = artefact(cache_core.Kind.PROFILE).tensors
    stream = f"{flux_blocks()[0]}.image"
    adjustment = {f"{part}.{stream}": torch.ones(20, WIDTH) for part in ("scale", "shift")}
    ship(
        shipped,
        "scale_shift",
        method="block_caching",
        tensors={**plain, **adjustment},
        made={"trained_delta": 0.7},
    )
    kit = Kit(SimpleNamespace(core=cache_core), {}, {})
    cell = Cell(name="x", label="x", method="block_caching", artefact="scale_shift")
    found = [kit.policy(replace(cell, variant=variant)).config for variant in ("", "unadjusted")]
    assert [set(config.profile.tensors) for config in found] == [{"profile", *adjustment}, {"profile"}]
    assert [config.delta for config in found] == [0.7, 0.7]


def test_a_router_trained_anew_is_another_record(shipped: Path) -> None:
    cell = Cell(name="x", label="x", method="learning_to_cache", artefact="learned")
    ship(shipped, "learned", threshold=0.3)
    before = key_of(cell)
    shutil.rmtree(shipped)
    shipped.mkdir()
    ship(shipped, "learned", threshold=0.4)
    assert key_of(cell) != before
    assert key_of(replace(cell, variant="reversed")) != key_of(cell)


def _share_of(policy: Any) -> float:
    run = cache_core.Run(sigmas=tuple(1 - i / 20 for i in range(21)), call_steps=tuple(range(20)))
    calls = [cache_core.Call(index=i, step=i, sigma=run.sigmas[i], run=run) for i in range(20)]
    plans = [policy.plan(call, cache_core.Evidence(sites=SITES)) for call in calls]
    done = sum(action is cache_core.Action.COMPUTE for plan in plans for action in plan.values())
    return done / (20 * len(SITES))


# --- what is still to be done -------------------------------------------------------------------------------------


def test_random_routers_draw_the_first_seeds_only(tmp_path: Path) -> None:
    jobs = [job for job in open_jobs(tmp_path, FULL, 32, 512) if "_random_" in job.record]
    assert len(jobs) == 60
    assert {(job.seeds, job.is_headline) for job in jobs} == {(range(RANDOM_SEEDS), False)}


def test_random_routers_are_neither_timed_nor_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quality import timing

    ran: list[str] = []

    def runner(hand: Any, cell: Cell) -> Any:
        return lambda seed: ran.append(cell.name)

    monkeypatch.setattr(timing, "_runner", runner)
    hand = SimpleNamespace(bench=SimpleNamespace(folder=tmp_path))
    chosen = [cell for cell in FULL if cell.method in (UNCACHED, "learning_to_cache")]
    time_pictures(hand, chosen, 1, "wall")  # type: ignore[arg-type]
    assert FIRST in ran
    assert not [name for name in ran if "_random_" in name]
    fill(tmp_path, chosen, {})
    found = [row.name for row in rows(tmp_path, chosen, RANDOM_SEEDS, 0, "wall")]
    assert FIRST in found
    assert not [name for name in found if "_random_" in name]


def test_only_what_lacks_its_time_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quality import timing

    ran: list[str] = []

    def runner(hand: Any, cell: Cell) -> Any:
        return lambda seed: ran.append(cell.name)

    monkeypatch.setattr(timing, "_runner", runner)
    hand = SimpleNamespace(bench=SimpleNamespace(folder=tmp_path))
    first, second = named("fora_20_percent"), named("fora_40_percent")
    known = {key_of(first): np.array([1.0, 0.25])}
    write_record(timing_path(tmp_path, "wall", 0), known)
    time_pictures(hand, [named(UNCACHED), first, second], 1, "wall")  # type: ignore[arg-type]
    assert set(ran) == {UNCACHED, second.name}
    found = timing.read_timings(tmp_path, [first, second], 1, "wall")
    assert found[first.name][0].ratio == 0.25
    assert len(found[second.name]) == 1


# --- who beats whom -----------------------------------------------------------------------------------------------


def fill(
    folder: Path, chosen: list[Cell] | tuple[Cell, ...], scores: dict[str, float], num: int = RANDOM_SEEDS
) -> None:
    """Write made-up records: PSNR by name, else 30 dB, with a wobble by seed."""
    for cell in chosen:
        seeds = range(num)
        psnr = scores.get(cell.name, 30.0) + np.linspace(-1.0, 1.0, num)
        write_record(
            record_path(folder, key_of(cell), seeds),
            {"refresh": np.ones(num), "cost": np.full(num, 0.6), "psnr": psnr},
        )


def test_a_trained_router_is_compared_with_itself_reversed_and_with_fora_seed_by_seed(tmp_path: Path) -> None:
    fill(tmp_path, FULL, {FIRST: 33.0, "fora_20_percent": 32.0})
    found = {(pair.name, pair.against): pair for pair in find_pairs(tmp_path, FULL, RANDOM_SEEDS, 0)}
    backwards = found[FIRST, "learning_to_cache_22_reversed"]
    assert backwards.gain is not None and backwards.change is None
    assert backwards.gain.value == pytest.approx(3.0)
    fora = found[FIRST, "fora_20_percent"].gain
    assert fora is not None and fora.value == pytest.approx(1.0)


def test_a_pair_of_which_one_was_not_drawn_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, [cell for cell in FULL if cell.name != "fora_20_percent"], {})
    pairs = find_pairs(tmp_path, FULL, RANDOM_SEEDS, 0)
    assert (FIRST, "fora_20_percent") not in [(pair.name, pair.against) for pair in pairs]


def test_scale_and_shift_that_restore_the_pictures_take_the_whole_distance_away(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    features, noise = dice.normal(size=(64, 4)), dice.normal(size=(64, 4))
    for cell in [named("block_caching_scale_shift"), named("block_caching_unadjusted"), data()]:
        drift = 0.5 * noise if cell.variant else 0.0 * noise
        for start in range(0, 64, HEADLINE_BATCH):
            part = slice(start, start + HEADLINE_BATCH)
            path = record_path(tmp_path, f"summary_{key_of(cell)}", range(start, start + HEADLINE_BATCH))
            write_record(path, {"summary": features[part] + drift[part]})
    [pair] = find_pairs(tmp_path, FULL, RANDOM_SEEDS, 64)
    assert pair.name == "block_caching_scale_shift"
    assert pair.gain is None and pair.change is not None
    assert pair.change.value == pytest.approx(-pair.other_distance)  # type: ignore[operator]


def test_a_router_is_placed_among_the_random_ones_of_its_cost_on_the_same_pictures(tmp_path: Path) -> None:
    method, reused = PROBED[0]
    scores = {name: 20.0 + number for number, name in enumerate(random_names(method, reused))}
    fill(tmp_path, FULL, {**scores, FIRST: 36.5})
    # More seeds were drawn of the trained one; only those of the random ones count.
    write_record(
        record_path(tmp_path, key_of(named(FIRST)), range(8, 16)),
        {"refresh": np.ones(8), "cost": np.ones(8), "psnr": np.full(8, 99.0)},
    )
    found = {one.name: one for one in find_randoms(tmp_path, FULL, 16)}[FIRST]
    assert found.num_seeds == RANDOM_SEEDS
    assert found.trained == pytest.approx(36.5)
    assert (found.mean, found.best) == (pytest.approx(29.5), pytest.approx(39.0))
    assert found.deviation == pytest.approx(np.std(np.arange(20), ddof=1))
    assert found.num_beaten == 17
    assert found.backwards == pytest.approx(30.0)


def test_routers_without_random_ones_are_not_placed(tmp_path: Path) -> None:
    fill(tmp_path, [cell for cell in FULL if cell.num_seeds is None], {})
    assert find_randoms(tmp_path, FULL, RANDOM_SEEDS) == []


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--seeds", "1"], ["--samples", "255"], ["--pairs", "-1"]])
def test_numbers_that_give_no_interval_are_refused_before_anything_is_drawn(arguments: list[str]) -> None:
    import bench_routers

    with pytest.raises(SystemExit, match=r"bench routers: got --seeds .* expected 2 or more seeds"):
        bench_routers.main(arguments)


def test_files_left_out_are_named_with_the_command_that_makes_them(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import bench_routers

    monkeypatch.setattr(bench_routers, "load_engine", lambda: SimpleNamespace(core=cache_core))
    for name in ALL[1:]:
        ship(shipped, name, threshold=0.3)
    found = bench_routers._cells("flux", SimpleNamespace(quick=True))  # type: ignore[arg-type]
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"flux: left out {ALL[0]}, not trained yet")
    assert "`python dev.py zoo routers`" in line
    assert router_name("learning_to_cache", 15) not in [cell.name for cell in found]
    assert sum(cell.num_seeds is not None for cell in found) == 6

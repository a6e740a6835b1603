"""Full-size speed: the same path on the CPU with networks so small that it takes a moment, and the arithmetic of its tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bench_gpu
import pytest
import real
import torch
from fullsize.losses import Losses, Parts, covered
from fullsize.networks import num_parameters
from fullsize.pages import Study, losses_table, merged, page, read_studies, table, verdict, write
from fullsize.presets import PRESETS
from fullsize.rounds import Pair, Records, Rounds, num_pictures
from fullsize.rows import Row, compiled_rows, rows
from fullsize.sampling import Bench, Sampled
from overhead_networks import FULL
from quality.timing import CLOCKS

PRESET = PRESETS[0]
SMALL = ["--device", "cpu", "--width", "128", "--steps", "4", "--rounds", "2", "--clock", "thread"]
ROW = Row(
    setting="FORA, 2, module",
    rounds=3,
    seconds=5.5,
    seconds_range=(5.4, 5.625),
    plain_seconds=10.0,
    measured=1.8,
    left=0.5,
    efficiency=0.9,
    efficiency_range=(0.89, 0.925),
    refresh=0.525,
    extra_bytes=3 * 1024 * 1024,
    held_bytes=2 * 1024 * 1024,
    copies=0.02,
    stand_ins=0.01,
    deciding=0.0,
    idle=0.031,
    plain_idle=0.002,
)
STUDY = Study(
    kind="cuda",
    machine="Some Device",
    how="20 steps",
    network="Flux.1 dev",
    size="width 3072",
    backend="",
    rows=(ROW,),
)


@pytest.fixture(scope="module")
def measured(host: real.Host, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Return the command line of a small measurement that was carried out, and its folder."""
    folder = tmp_path_factory.mktemp("gpu")
    words = [*SMALL, "--networks", "Flux", "--settings", "FORA, 2", "TeaCache"]
    words += ["--work", str(folder / "work"), "--results", str(folder)]
    threads = torch.get_num_threads()
    assert bench_gpu.main(words) == 0
    torch.set_num_threads(threads)
    return words, folder


@pytest.fixture(scope="module")
def bench(host: real.Host) -> Bench:
    """Return a small Flux."""
    return small_bench("Flux")


def small_bench(name: str, backend: str = "") -> Bench:
    recipe = next(one for one in bench_gpu.small(128) if one.name == name)
    return Bench(bench_gpu.load_engine(), bench_gpu.load(recipe), 4, CLOCKS["thread"], backend)


def records(folder: Path, plain: float, cached: float, saved: float) -> Records:
    made = Records(folder)
    pair = {
        "plain": {"seconds": plain, "calls": plain, "peak_bytes": 100},
        "cached": {"seconds": cached, "calls": cached, "saved": saved, "refresh": 0.5, "peak_bytes": 130},
    }
    made.add("round_000", {PRESET.key: pair})
    return made


# --- where it runs ------------------------------------------------------------------------------------------------


def test_without_a_device_it_says_so_in_one_line_and_succeeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_gpu.main(["--results", str(tmp_path)]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert "skipped, there is no CUDA device" in line
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_fit_is_left_out_by_name(
    host: real.Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (16e9, 24e9))
    assert [bench_gpu._fits(recipe) for recipe in FULL] == [False, False, True]
    assert "Flux.1 dev: left out, it needs about 30 GB and 16 GB are free" in capsys.readouterr().out


def test_networks_have_as_many_weights_as_the_published_ones(host: real.Host) -> None:
    billions = [num_parameters(recipe) / 1e9 for recipe in FULL]
    assert billions == pytest.approx([11.9, 8.06, 0.61], rel=0.01)


def test_unknown_words_are_refused_with_the_known_ones() -> None:
    options = bench_gpu.read_options(["--device", "cpu", "--settings", "FORMA"])
    with pytest.raises(SystemExit, match=r"got .*FORMA; expected parts of .*FORA, 2, module"):
        bench_gpu.chosen(options)


# --- a measurement ------------------------------------------------------------------------------------------------


def test_every_cache_has_a_row_with_its_losses(measured: tuple[list[str], Path]) -> None:
    [study] = read_studies(measured[1] / "gpu.json")
    settings = [row.setting for row in study.rows]
    assert settings == ["FORA, 2, module", "FORA, 2, module, in host memory", "TeaCache, half of the calls"]
    assert all(row.rounds == 2 and row.seconds > 0 and row.held_bytes > 0 for row in study.rows)
    assert all(0 < row.refresh < 1 and 0 < row.left < 1 and row.measured > 0 for row in study.rows)
    assert all(row.copies and row.stand_ins and row.idle is None for row in study.rows)
    assert [bool(row.deciding) for row in study.rows] == [False, False, True]


def test_a_second_start_measures_nothing_anew(
    measured: tuple[list[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, folder = measured
    before = (folder / "gpu.json").read_text(encoding="utf-8")
    monkeypatch.setattr(Bench, "sample", lambda *_: pytest.fail("it sampled"))
    assert bench_gpu.main(words) == 0
    assert (folder / "gpu.json").read_text(encoding="utf-8") == before


def test_nothing_is_begun_when_the_time_is_over(bench: Bench, tmp_path: Path) -> None:
    Rounds(bench, Records(tmp_path), lambda: True).measure(PRESETS, 1)
    assert list(tmp_path.iterdir()) == []


def test_the_time_of_calls_includes_the_cache_itself(bench: Bench) -> None:
    cached = bench.carrying(PRESET)
    sampled = bench.sample(cached)
    report = bench.engine.report(cached)
    assert report.call_seconds < sampled.calls < sampled.seconds


@pytest.mark.parametrize("name", ["SD3", "PixArt"])
def test_other_families_are_sampled_with_two_branches(host: real.Host, name: str) -> None:
    bench = small_bench(name)
    cached = bench.carrying(PRESET)
    bench.sample(cached)
    calls = bench.engine.report(cached).calls
    assert [sum(call.computed) + sum(call.reused) for call in calls] == [2, 2, 2, 2]


def test_features_are_held_where_the_preset_says(bench: Bench) -> None:
    shown: list[Any] = []
    preset = next(one for one in PRESETS if one.in_host_memory)
    cached = bench.carrying(preset)
    bench.sample(bench.with_session(cached, lambda session: shown.append(session.store._residence.device)))
    assert shown == [torch.device("cpu")]


@pytest.mark.slow
def test_a_compiled_network_is_sampled_in_graphs(bench: Bench, host: real.Host) -> None:
    compiled = Bench(bench.engine, bench.subject, 2, bench.now, "eager")
    torch._dynamo.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    compiled.sample(compiled.plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before
    assert compiled.sample(compiled.carrying(PRESET)).refresh < 1


# --- arithmetic ---------------------------------------------------------------------------------------------------


def test_the_ideal_is_what_the_uncached_picture_leaves_without_the_saved_work(tmp_path: Path) -> None:
    [row] = rows(records(tmp_path, plain=10.0, cached=5.5, saved=5.0), [PRESET])
    assert (row.ideal, row.measured) == (2.0, pytest.approx(10 / 5.5))
    assert row.efficiency == pytest.approx(row.measured / row.ideal)
    assert row.extra_bytes == 30
    assert row.rest is None


def test_losses_add_up_to_what_the_ideal_would_not_take(tmp_path: Path) -> None:
    made = records(tmp_path, plain=10.0, cached=5.5, saved=5.0)
    found = {"calls": 5.6, "copies": 0.28, "stand_ins": 0.112, "deciding": 0.056, "idle": 0.04}
    made.add("losses", {PRESET.key: found, "uncached": 0.01})
    [row] = rows(made, [PRESET])
    assert (row.copies, row.stand_ins, row.deciding) == pytest.approx((0.05, 0.02, 0.01))
    assert row.rest == pytest.approx(0.5 / 5.5 - 0.08)
    assert (row.plain_idle, row.idle) == (0.01, 0.04)


def test_a_compiled_cache_is_held_to_the_ideal_without(tmp_path: Path) -> None:
    plain = rows(records(tmp_path / "plain", plain=10.0, cached=5.5, saved=5.0), [PRESET])
    made = records(tmp_path / "compiled", plain=8.0, cached=5.0, saved=99.0)
    [row] = compiled_rows(made, [PRESET], plain)
    assert row.efficiency == pytest.approx(8.0 / 5.0 / 2.0)
    assert compiled_rows(made, [PRESET], []) == []


def test_an_uncached_picture_counts_with_the_one_on_the_other_side(tmp_path: Path) -> None:
    taken = iter([4.0, 1.0, 2.0])
    stub = SimpleNamespace(
        plain="plain", is_compiled=True, sample=lambda *_: Sampled(seconds=next(taken), calls=0.0)
    )
    measuring = Rounds(stub, Records(tmp_path))  # type: ignore[arg-type]
    measuring._models = {PRESET.key: "cached"}
    measuring.measure([PRESET], 1)
    [pair] = Records(tmp_path).pairs(PRESET)
    assert isinstance(pair, Pair)
    assert (pair.plain.seconds, pair.cached.seconds) == (3.0, 1.0)


def test_an_estimate_counts_cached_pictures_as_half_and_the_uncached_ones_around_every_three() -> None:
    once, twice = (num_pictures(6, rounds) for rounds in (1, 2))
    assert twice - once == 6 / 2 + 3


def test_time_that_is_covered_twice_counts_once() -> None:
    assert covered([(5.0, 7.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.75)]) == 5.0


def test_parts_are_timed_apart_and_do_what_they_did() -> None:
    ticks = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0])
    clock = SimpleNamespace(
        start=lambda: SimpleNamespace(begin=next(ticks)),
        stop=lambda span: setattr(span, "end", next(ticks)),
        seconds=lambda span: span.end - span.begin,
    )
    session = SimpleNamespace(
        store=SimpleNamespace(put=lambda x: x + 1),
        estimate=lambda x: x + 2,
        planner=SimpleNamespace(observe=lambda x: x + 3),
    )
    parts = Parts(clock)
    parts.watch(session)
    assert (session.store.put(0), session.estimate(0), session.planner.observe(0)) == (1, 2, 3)
    assert [parts.seconds(part) for part in ("copies", "stand_ins", "deciding")] == [1.0, 2.0, 4.0]


def test_caches_differ_in_title_and_in_the_key_of_their_records() -> None:
    assert (
        len({preset.title for preset in PRESETS}) == len({preset.key for preset in PRESETS}) == len(PRESETS)
    )
    assert replace(PRESET, title="other").key == PRESET.key


# --- pages --------------------------------------------------------------------------------------------------------


def test_a_row_reads_as_seconds_speedups_and_megabytes() -> None:
    assert table([STUDY]).splitlines()[-1] == (
        "| Flux.1 dev | FORA, 2, module | 3 | 5.50 (5.40 to 5.62) | 10.00 | 1.80x | 2.00x | 90.0% (89.0% to 92.5%) | 0.53 | 3 | 2.0 |"
    )
    on_cpu = table([replace(STUDY, kind="cpu")])
    assert on_cpu.endswith("| 0.53 | - | 2.0 |"), "there is no device memory on the CPU"


def test_losses_read_as_shares() -> None:
    assert losses_table([STUDY]).splitlines()[-1] == (
        "| Flux.1 dev | FORA, 2, module | 10.0% | 2.0% | 1.0% | 0.0% | 7.0% | 0.2% | 3.1% |"
    )
    unknown = replace(STUDY, rows=(replace(ROW, copies=None),))
    assert "FORA" not in losses_table([unknown])


def test_the_verdict_names_the_least_row_and_leaves_torch_compile_out() -> None:
    better = replace(ROW, setting="Step List", efficiency=0.98)
    compiled = replace(STUDY, backend="inductor", rows=(replace(ROW, efficiency=0.2),))
    text = verdict([replace(STUDY, rows=(ROW, better)), compiled])
    assert text.startswith("1 of 2 rows without torch.compile reach 97%")
    assert text.endswith("the least is 90.0%, Flux.1 dev, FORA, 2, module.")


def test_new_studies_take_the_place_of_old_ones_of_the_same_network_and_machine() -> None:
    newer, other = replace(STUDY, how="30 steps"), replace(STUDY, machine="Another")
    assert merged([STUDY, other], [newer]) == [newer, other]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path, [STUDY], "About.")
    assert read_studies(tmp_path / "gpu.json") == [STUDY]
    assert (tmp_path / "gpu.md").read_text(encoding="utf-8") == page([STUDY], "About.")


def test_a_page_has_a_section_per_machine_with_what_was_measured_on_it() -> None:
    text = page([STUDY, replace(STUDY, machine="Another", backend="inductor")], "About.")
    assert text.index("## Some Device") < text.index("## Another")
    assert "* Flux.1 dev: width 3072; 20 steps." in text
    assert text.count("With torch.compile the uncached") == 1


def test_losses_are_read_as_they_were_kept(tmp_path: Path) -> None:
    made = Records(tmp_path)
    assert made.losses(PRESET) is None
    made.add(
        "losses", {PRESET.key: {"calls": 1.0, "copies": 0.1, "stand_ins": 0.2, "deciding": 0.0, "idle": None}}
    )
    assert made.losses(PRESET) == Losses(calls=1.0, copies=0.1, stand_ins=0.2, deciding=0.0, idle=None)

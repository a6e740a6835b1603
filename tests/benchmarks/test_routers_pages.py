"""The pages of the benchmark of routers say what the records say, expectation by expectation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

from quality.routers.pages import distance_table, page, pair_table, random_table
from quality.routers.verdicts import EXPECTATIONS, found

Record = dict[str, Any]
FIRST = "learning_to_cache_22_trained"


def interval(value: float, spread: float = 0.5) -> Record:
    return {"value": value, "low": value - spread, "high": value + spread}


def row(name: str, group: str, cost: float, time: float, psnr: float) -> Record:
    measures = {"psnr": interval(psnr), "ssim": interval(0.9), "perceptual": interval(0.1)}
    return {
        "name": name,
        "label": f"label of {name}",
        "group": group,
        "method": group.split()[0],
        "refresh": cost,
        "cost": cost,
        "seconds": 1.0,
        "time": time,
        "time_range": [time, time],
        "measures": measures | {"latent_error": interval(0.05)},
        "num_identical": 0,
        "at_cost": None,
        "at_time": None,
    }


def distance(name: str, excess: float, spread: float = 0.01) -> Record:
    return {
        "name": name,
        "label": f"label of {name}",
        "num_samples": 512,
        "to_data": 1.0 + excess,
        "excess": interval(excess, spread),
        "to_uncached": 0.001,
        "change_to_data": None,
        "change_to_uncached": None,
        "bare": None,
    }


def pair(name: str, against: str, gain: float, change: float | None = None) -> Record:
    return {
        "name": name,
        "label": f"label of {name}",
        "against": against,
        "against_label": f"label of {against}",
        "gain": interval(gain),
        "change": None if change is None else interval(change, 0.01),
        "other_distance": None if change is None else 1.0,
    }


def study(model: str = "flux") -> Record:
    reuses = (("learning_to_cache", 22), ("learning_to_cache", 40), ("harmonica", 40))
    return {
        "model": model,
        "note": "How it was measured.",
        "missing": [],
        "rows": [
            row("fewer_steps_10", "fewer_steps", 0.5, 0.5, 36.0),
            row("fewer_steps_15", "fewer_steps", 0.75, 0.75, 44.0),
            row(FIRST, "learning_to_cache", 0.78, 0.85, 43.0),
            row("harmonica_40_trained", "harmonica", 0.6, 0.7, 37.0),
            row("harmonica_55_trained", "harmonica", 0.45, 0.5, 33.0),
        ],
        "distances": [
            distance("uncached", 0.0),
            distance(FIRST, 0.015),
            distance("harmonica_40_trained", 0.5),
            distance("harmonica_55_trained", 0.005),
        ],
        "pairs": [
            *(
                pair(f"{method}_{reused}_trained", f"{method}_{reused}_reversed", 2.0)
                for method, reused in reuses
            ),
            pair("harmonica_40_trained", "learning_to_cache_40_trained", 1.0, -0.05),
            pair(f"{FIRST}_error_optimized", FIRST, 0.1, -0.03),
            pair(f"{FIRST}_gradient_optimized", FIRST, 0.2, 0.005),
            pair("block_caching_scale_shift", "block_caching_unadjusted", 1.5, -0.1),
        ],
        "randoms": [
            {
                "name": f"{method}_{reused}_trained",
                "label": f"{method}, trained, {reused} % reuse",
                "num_seeds": 8,
                "trained": 40.0,
                "backwards": 35.0,
                "scores": [34.0, 36.0],
                "mean": 35.0,
                "deviation": 1.0,
                "best": 36.0,
                "num_beaten": 2,
            }
            for method, reused in reuses
        ],
    }


def verdict(record: Record, number: int) -> str:
    return found(record)[number - 1]


def test_there_is_one_line_per_expectation_and_family() -> None:
    lines = found(study())
    assert len(lines) == len(EXPECTATIONS) == 7
    assert [line.split(":")[0] for line in lines] == [f"Flux, {number}" for number in range(1, 8)]


def test_learning_to_cache_is_no_worse_where_the_interval_reaches_one_percent() -> None:
    record = study()
    assert "**met**: label of learning_to_cache_22_trained +1.5 % (+0.5 to +2.5)" in verdict(record, 1)
    record["distances"][1] = distance(FIRST, 0.025)
    assert "**not met**" in verdict(record, 1)


def test_harmonica_is_judged_where_it_is_one_and_a_half_times_as_fast() -> None:
    record = study()
    assert "**met**: 2.00 times as fast, label of harmonica_55_trained +0.5 %" in verdict(record, 2)
    assert "harmonica_40" not in verdict(record, 2)
    record["distances"][3] = distance("harmonica_55_trained", 0.02)
    assert "**not met**: 2.00 times as fast" in verdict(record, 2)


def test_a_harmonica_that_is_too_slow_is_told_so() -> None:
    record = study()
    record["rows"] = [one | {"time": 0.8} if one["group"] == "harmonica" else one for one in record["rows"]]
    assert "**not met**: the fastest of 2 routers is 1.25 times as fast" in verdict(record, 2)


def test_harmonica_is_better_only_where_it_is_nearer_to_the_data_beyond_the_interval() -> None:
    record = study()
    assert "**met**: label of harmonica_40_trained -5.0 % (-6.0 to -4.0), PSNR +1.0 dB" in verdict(record, 3)
    record["pairs"][3] = pair("harmonica_40_trained", "learning_to_cache_40_trained", 1.0, -0.005)
    assert "**not met**" in verdict(record, 3)


def test_both_corrections_must_help() -> None:
    record = study()
    line = verdict(record, 4)
    assert "**not met**" in line
    assert "error_optimized -3.0 % (-4.0 to -2.0)" in line and "gradient_optimized +0.5 %" in line
    record["pairs"][5] = pair(f"{FIRST}_gradient_optimized", FIRST, 0.2, -0.02)
    assert "**met**" in verdict(record, 4)


def test_scale_and_shift_must_bring_it_nearer_to_the_data() -> None:
    assert "**met**: label of block_caching_scale_shift -10.0 % (-11.0 to -9.0)" in verdict(study(), 5)


def test_a_trained_router_must_beat_all_random_ones() -> None:
    record = study()
    assert "**met**" in verdict(record, 6)
    assert "beats 2 of 2, +5.0 standard deviations from their mean" in verdict(record, 6)
    record["randoms"][1]["num_beaten"] = 1
    assert "**not met**" in verdict(record, 6)


def test_a_trained_router_must_beat_itself_reversed_beyond_the_interval() -> None:
    record = study()
    assert "**met**: Learning-to-Cache at 22 % +2.0 dB (+1.5 to +2.5)" in verdict(record, 7)
    record["pairs"][0] = pair(FIRST, "learning_to_cache_22_reversed", 0.3)
    assert "**not met**" in verdict(record, 7)


def test_what_was_not_measured_is_neither_met_nor_not() -> None:
    record = study() | {"rows": [], "distances": [], "pairs": [], "randoms": []}
    assert [line.split(": ")[1] for line in found(record)] == ["**not measured**."] * 7


def test_a_part_of_the_routers_does_not_meet_an_expectation_for_all() -> None:
    record = study()
    record["pairs"], record["randoms"] = record["pairs"][:2], record["randoms"][:1]
    assert "**not all measured**: " in verdict(record, 6)
    assert "**not all measured**: " in verdict(record, 7)


def test_distances_are_in_percent_of_the_uncached_runs() -> None:
    lines = distance_table(study()).splitlines()
    assert lines[3].startswith(
        "| label of learning_to_cache_22_trained | 0.780 | 0.85 | 1.0150 | +1.5 % (+0.5 to +2.5)"
    )
    assert lines[2].startswith("| label of uncached |  |  | 1.0000 |  |")


def test_the_papers_number_stands_beside_eoc_alone() -> None:
    lines = pair_table(study()).splitlines()
    assert [line for line in lines if "-2.5 %" in line] == [
        line for line in lines if "_error_optimized" in line
    ]


def test_random_routers_are_one_line_per_trained_one() -> None:
    lines = random_table(study()).splitlines()
    assert len(lines) == 2 + 3
    assert "| 8 | 40.0 | 35.0 | 35.0 (standard deviation 1.00) | 36.0 | 2 of 2 |" in lines[2]


def test_the_page_says_what_was_expected_then_what_was_found_then_family_by_family() -> None:
    text = page([study("flux"), study("pixart") | {"missing": ["zoo_pixart_scale_shift_20_steps"]}])
    places = [text.index(part) for part in ("What was expected", "What was found", "## Flux", "## PixArt")]
    assert places == sorted(places)
    assert "Not trained yet, and so not here: zoo_pixart_scale_shift_20_steps." in text
    assert text.count("### Among random routers") == 2


@pytest.mark.parametrize("left_out", [(), ("distances", "randoms")])
def test_a_family_is_drawn_with_what_was_measured(tmp_path: Path, left_out: tuple[str, ...]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from quality.routers.plots import draw

    draw(study() | {name: [] for name in left_out}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000

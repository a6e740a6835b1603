"""The pages of the benchmark of methods say what the records say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from quality.overview import overview
from quality.tables import (
    correction_table,
    full_table,
    gain,
    match_table,
    method_block,
    neighbours,
    own_rows,
    read_studies,
    spell,
)

Record = dict[str, Any]


def interval(value: float, spread: float = 0.5) -> Record:
    return {"value": value, "low": value - spread, "high": value + spread}


def row(name: str, group: str, cost: float, psnr: float, against: float | None = None) -> Record:
    rival = (
        None if against is None else {"steps": 20 * cost, "psnr": psnr - against, "gain": interval(against)}
    )
    measures = {
        "psnr": interval(psnr),
        "ssim": interval(0.9),
        "perceptual": interval(0.1),
        "latent_error": interval(0.05),
    }
    return {
        "name": name,
        "label": f"label of {name}",
        "group": group,
        "method": "fora",
        "refresh": cost,
        "cost": cost,
        "seconds": 1.0,
        "time": cost + 0.02,
        "time_range": [cost, cost + 0.04],
        "measures": measures,
        "num_identical": 0,
        "at_cost": rival,
        "at_time": None,
    }


def study(model: str = "flux") -> Record:
    return {
        "model": model,
        "note": "How it was measured.",
        "rows": [
            row("fewer_steps_10", "fewer_steps", 0.5, 36.0),
            row("fewer_steps_15", "fewer_steps", 0.75, 44.0),
            row("fora_50_percent", "fora", 0.5, 34.0, -2.0),
            row("fora_50_percent_gradient_optimized", "gradient_optimized", 0.5, 38.0, 2.0),
            row("teacache_identity_50", "teacache", 0.52, 35.0, -1.0),
            row("teacache_fitted_50", "teacache", 0.51, 37.0, 1.0),
        ],
        "corrections": [
            {
                "name": "fora_50_percent_gradient_optimized",
                "group": "gradient_optimized",
                "against": "fora_50_percent",
            }
        ],
        "distances": [
            {
                "name": "fora_50_percent_gradient_optimized",
                "label": "FORA + GOC",
                "num_samples": 512,
                "to_data": 0.09,
                "excess": interval(0.001),
                "to_uncached": 0.001,
                "change_to_data": interval(-0.01, 0.002),
                "change_to_uncached": interval(-0.003, 0.001),
                "bare": [0.1, 0.004],
            }
        ],
        "matches": [
            {"name": "teacache_identity_50", "number": "identity_50", "rival": None},
            {
                "name": "teacache_fitted_50",
                "number": "fitted_50",
                "rival": {"steps": 10.2, "psnr": 35.0, "gain": interval(2.0)},
            },
        ],
        "numbers": {"identity_50": 0.18, "fitted_50": 0.12},
        "facts": {
            "coefficients": {"correlation": 0.8, "raw_correlation": 0.6, "monotone": 0.0},
            "prior": {"explained": 0.36},
        },
    }


def test_a_difference_is_bold_only_where_its_whole_interval_is_above_zero() -> None:
    assert gain({"steps": 10.0, "psnr": 30.0, "gain": interval(1.0)}) == "**+1.0 (+0.5 to +1.5)**, 10.0 steps"
    assert gain({"steps": 10.0, "psnr": 30.0, "gain": interval(0.2)}) == "+0.2 (-0.3 to +0.7), 10.0 steps"
    assert gain(None) == "-"


def test_identical_pictures_are_called_so() -> None:
    assert spell(None, 1) == "identical"


def test_every_row_is_in_the_full_table_with_all_measures() -> None:
    text = full_table(study()["rows"])
    assert len(text.splitlines()) == 2 + len(study()["rows"])
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_a_corrections_rows_come_with_the_bare_cache() -> None:
    names = [one["name"] for one in own_rows(study(), "gradient_optimized")]
    assert names == ["fora_50_percent", "fora_50_percent_gradient_optimized"]


def test_fewer_steps_of_nearest_cost_stand_beside_a_method() -> None:
    rows = own_rows(study(), "teacache")
    assert [one["name"] for one in neighbours(study(), rows)] == ["fewer_steps_10"]


def test_a_methods_page_has_its_own_rows_of_every_family_and_no_others() -> None:
    block = method_block([study("flux"), study("sd3")], "teacache")
    assert block.count("label of teacache_fitted_50") == 2
    assert "### Flux" in block and "### SD3" in block
    assert "label of fora_50_percent" not in block


def test_a_method_without_rows_has_no_block() -> None:
    assert method_block([study()], "harmonica") == ""


def test_changes_of_distance_are_relative_to_the_bare_cache_and_stand_beside_the_papers() -> None:
    line = correction_table(study()).splitlines()[-1]
    assert "-10.0 % (-12.0 to -8.0)" in line
    assert "-75.0 % (-100.0 to -50.0)" in line
    assert "-43.0 %" in line


def test_a_fit_is_compared_with_identity_at_its_own_refresh_ratio() -> None:
    lines = match_table(study()).splitlines()
    assert "**+2.0 (+1.5 to +2.5)**" in lines[-1]
    assert "0.12" in lines[-1]


def test_the_whole_page_says_what_was_expected_and_what_was_found() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    from quality.pages import page

    text = page([study()])
    assert text.index("What was expected") < text.index("What was found") < text.index("## Flux")
    assert (
        "Of 4 that fewer steps of equal cost stand beside, 2 are nearer to the uncached picture, 2 farther"
        in text
    )
    assert text.index("What was found") < text.index(overview([study()])[1]) < text.index("## Flux")


def test_the_families_stand_side_by_side_and_what_lies_within_its_interval_in_brackets() -> None:
    doubtful = study("sd3")
    doubtful["rows"][2]["at_cost"]["gain"] = interval(0.2)
    doubtful["rows"][3]["at_cost"] = None
    lines = overview([study(), doubtful])[1].splitlines()
    assert lines[0] == "|  | Flux | SD3 |"
    assert "| label of fora_50_percent | -2.0 | (+0.2) |" in lines
    assert "| label of fora_50_percent_gradient_optimized | **+2.0** | - |" in lines
    assert not any("fewer_steps" in line for line in lines)


def test_a_correction_stands_against_its_bare_cache_in_every_family() -> None:
    undrawn = study("sd3") | {"distances": []}
    lines = overview([study(), undrawn])[3].splitlines()
    assert lines[2:] == ["| label of fora_50_percent_gradient_optimized | +4.0 dB, **-10.0 %** | +4.0 dB |"]


def test_what_was_not_compared_has_no_table() -> None:
    assert overview([study() | {"rows": [], "corrections": []}]) == []


def test_a_page_is_written_of_the_families_measured_so_far(tmp_path: Path) -> None:
    assert read_studies(tmp_path) == []
    (tmp_path / "methods_sd3.json").write_text('{"model": "sd3"}', encoding="utf-8")
    assert [one["model"] for one in read_studies(tmp_path)] == ["sd3"]

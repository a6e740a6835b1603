"""From measured PSNR to the speedups of intents."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

import bench_presets
from metrics.study.cells import Cell as Setting
from quality.presets import Measured, derive, page, table

from cache_core.presets import Intent

INTENTS = {"quality": Intent(40.0, 2.0), "fast": Intent(30.0, 3.0)}


def _measured(speedup: float, psnr: float | None, family: str = "flux", cfg: float = 1.0) -> Measured:
    low, high = (None, None) if psnr is None else (psnr - 1, psnr + 1)
    return Measured(
        family=family,
        sampler="euler",
        steps=20,
        cfg=cfg,
        speedup=speedup,
        num_seeds=8,
        psnr=psnr,
        low=low,
        high=high,
    )


CURVE = [_measured(1.5, None), _measured(2.0, 44.0), _measured(3.0, 33.0), _measured(4.0, 24.0)]


def _speedups(found: list[Measured]) -> dict[str, float]:
    (row,) = derive(found, INTENTS)
    speedups: dict[str, float] = row["speedups"]
    return speedups


def test_an_intent_takes_the_largest_speedup_above_its_floor() -> None:
    assert _speedups(CURVE) == {"quality": 2.0, "fast": 3.0}


def test_an_intent_has_a_largest_speedup() -> None:
    assert _speedups([replace(one, psnr=50.0) for one in CURVE]) == {"quality": 2.0, "fast": 3.0}


def test_of_two_models_of_a_kind_the_worse_counts() -> None:
    other = [replace(one, family="sd3", psnr=one.psnr and one.psnr - 5) for one in CURVE]
    assert _speedups([*CURVE, *other]) == {"quality": 1.5, "fast": 2.0}


def test_a_speedup_beyond_one_that_fails_is_not_taken() -> None:
    lucky = [*CURVE[:2], _measured(3.0, 29.0), _measured(4.0, 35.0)]
    assert _speedups(lucky) == {"quality": 2.0, "fast": 2.0}


def test_where_none_is_near_enough_every_step_is_computed() -> None:
    assert _speedups([_measured(1.5, 29.0)]) == {"quality": 1.0, "fast": 1.0}


def test_models_of_other_kinds_and_guidance_have_rows_of_their_own() -> None:
    found = [*CURVE, _measured(1.5, 20.0, cfg=4.0), _measured(1.5, 20.0, family="pixart")]
    rows = [(row["flow"], row["guided"], row["sampler"], row["steps"]) for row in derive(found, INTENTS)]
    assert rows == [
        (True, False, "first order", 20),
        (True, True, "first order", 20),
        (False, False, "first order", 20),
    ]


def test_identical_pictures_are_left_out_of_the_mean() -> None:
    found = Measured.of("flux", Setting("euler", 20, 1.0), 2.0, [float("inf"), 40.0, 42.0])
    assert (found.psnr, found.num_seeds) == (41.0, 3)
    assert Measured.of("flux", Setting("euler", 20, 1.0), 1.25, [float("inf")] * 3).psnr is None
    assert Measured.of("flux", Setting("euler", 20, 1.0), 1.25, [float("inf"), 31.0]).psnr == 31.0


def test_a_table_of_a_part_is_not_written() -> None:
    for part in (["--models", "flux"], ["--samplers", "euler"], ["--seeds", "1"]):
        with pytest.raises(SystemExit):
            bench_presets.main(part)


def test_the_page_shows_what_ships_and_what_was_measured() -> None:
    text = page(CURVE, INTENTS)
    assert "| flow models, cfg 1, first order, 20 steps | 2 | 3 |" in text
    assert "| Flux, euler, cfg 1, 20 steps | identical | 44.0 (43.0 to 45.0) | 33.0 (32.0 to 34.0) |" in text
    assert (
        table(CURVE) in text
        and "*quality* 40 dB and at most 2 times, *fast* 30 dB and at most 3 times" in text
    )

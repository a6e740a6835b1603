from __future__ import annotations

import numpy as np
import pytest
from comparison import Measured, Variant, row_of, side_by_side, table


def _run(offset: float, seconds: float = 1.0, **report: float) -> Measured:
    reference = np.full((8, 8, 3), 0.5)
    return Measured(
        picture=reference + offset,
        reference=reference,
        seconds=seconds,
        reference_seconds=2.0,
        report=report or None,
    )


def test_psnr_and_relative_error_by_hand() -> None:
    # A difference of 0.1 everywhere: mean square 0.01, so 20 dB; 0.1 of 0.5 is a fifth.
    assert _run(0.1).psnr == pytest.approx(20.0)
    assert _run(0.1).relative_error == pytest.approx(0.2)
    assert _run(0.0).psnr == float("inf")


def test_speedup_is_the_median_of_pairs() -> None:
    assert Variant(name="x", runs=[_run(0, 1.0), _run(0, 2.0), _run(0, 0.5)]).speedup == 2.0


def test_fewer_steps_do_less_of_everything_alike() -> None:
    row = table([row_of(Variant(name="fewer steps: 10", runs=[_run(0.1)], work=0.5))]).splitlines()[2]
    assert row.split()[3:] == ["1.00", "2.00x", "2.00x", "0.50", "0.50", "20.0", "+-", "0.0", "0.200"]


def test_table_takes_the_reports_numbers() -> None:
    run = _run(0.1, refresh_ratio=0.55, cost_ratio=0.6, ideal_speedup=1.7)
    row = table([row_of(Variant(name="cached", runs=[run, run]))]).splitlines()[2]
    assert row.split() == ["cached", "1.00", "2.00x", "1.70x", "0.55", "0.60", "20.0", "+-", "0.0", "0.200"]


def test_sheet_has_a_column_per_variant_and_a_row_per_caption() -> None:
    small = side_by_side(["a"], [Variant(name="x", runs=[_run(0.1)])])
    wide = side_by_side(["a", "b"], [Variant(name=n, runs=[_run(0.1)] * 2) for n in "xyz"])
    assert wide.width > 2 * small.width - 300 and wide.height > 1.5 * small.height

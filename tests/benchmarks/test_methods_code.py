"""Records are named after the code that they depend on, so that an edit throws away what it touches and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

from quality import code
from quality.calibration import parts
from quality.cells import PICTURES, Cell, data
from quality.code import code_of_part, key_of
from quality.command import needed_parts
from quality.kit import artefact_path, numbers_path
from quality.methods import cells


def named(name: str) -> Cell:
    [cell] = [cell for cell in cells() if cell.name == name]
    return cell


def copy_of_core(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let sums be taken of a copy of `cache_core`, which can be edited."""
    core = folder / "cache_core"
    for part in ("policies", "ops", "calibration"):
        shutil.copytree(code._CORE / part, core / part)
    for path in code._CORE.glob("*.py"):
        shutil.copyfile(path, core / path.name)
    monkeypatch.setattr(code, "_CORE", core)
    code.sources.cache_clear()
    return core


def edit(path: Path, added: str = "CHANGED = 1") -> None:
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{added}\n", encoding="utf-8")
    code._doing.cache_clear()


@pytest.mark.parametrize(
    ("edited", "touched"),
    [
        ("policies/seacache.py", {"seacache_50"}),
        ("policies/gradient_optimized.py", {"fora_50_percent_gradient_optimized"}),
        ("ops/polynomials.py", {"teacache_identity_50", "teacache_fitted_50"}),
        ("calibration/teacache.py", {"teacache_fitted_50"}),
        ("calibration/prior.py", {"fora_50_percent_error_optimized"}),
        ("calibration/change_profile.py", {"block_caching_50"}),
        ("policies/step_list.py", set()),
        ("session.py", set()),
    ],
)
def test_an_edit_renames_the_records_of_what_depends_on_it_and_no_others(
    edited: str, touched: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = copy_of_core(tmp_path, monkeypatch)
    before = {cell.name: key_of(cell) for cell in cells()}
    edit(core / edited)
    after = {cell.name: key_of(cell) for cell in cells()}
    changed = {name for name in after if after[name] != before[name]}
    looked_at = {
        "seacache_50",
        "fora_50_percent",
        "fora_50_percent_gradient_optimized",
        "fora_50_percent_error_optimized",
        "teacache_identity_50",
        "teacache_fitted_50",
        "block_caching_50",
        "harmonica_50",
    }
    assert changed & looked_at == touched


def test_an_edit_of_what_is_for_people_renames_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seacache = copy_of_core(tmp_path, monkeypatch) / "policies" / "seacache.py"
    before = key_of(named("seacache_50"))
    seacache.write_text(
        '"""Another' + seacache.read_text(encoding="utf-8").removeprefix('"""'), encoding="utf-8"
    )
    edit(seacache, "# a comment")
    assert seacache.read_text(encoding="utf-8").startswith('"""Another')
    assert key_of(named("seacache_50")) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('= setting(\n        "per call",', '= setting(\n        "whole change",'),
        ('== "whole change"', '== "per call"'),
    ],
    ids=["default", "compared"],
)
def test_a_text_that_decides_is_no_text_for_people(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = copy_of_core(tmp_path, monkeypatch) / "policies" / "gradient_optimized.py"
    before, text = key_of(named("fora_50_percent_gradient_optimized")), edited.read_text(encoding="utf-8")
    assert old in text
    edited.write_text(text.replace(old, new), encoding="utf-8")
    code._doing.cache_clear()
    assert key_of(named("fora_50_percent_gradient_optimized")) != before


def test_what_runs_no_code_of_ours_is_named_plainly() -> None:
    for cell in (*cells()[:3], data()):
        assert key_of(cell) == cell.name


def test_hand_made_routers_are_renamed_with_the_file_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by = tmp_path / "routers.py"
    shutil.copyfile(code._BY_HAND, made_by)
    monkeypatch.setattr(code, "_BY_HAND", made_by)
    before = key_of(named("harmonica_50")), key_of(named("teacache_fitted_50"))
    edit(made_by)
    assert key_of(named("harmonica_50")) != before[0]
    assert key_of(named("teacache_fitted_50")) == before[1]


def test_other_settings_under_the_same_name_are_another_record() -> None:
    cell = named("fora_3_module")
    assert key_of(replace(cell, settings=(("interval", 4),))) != key_of(cell)
    assert key_of(replace(cell, label="another label")) == key_of(cell)


def test_a_calibration_on_more_pictures_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_of_part("prior"), code_of_part("profile")
    monkeypatch.setitem(PICTURES, "prior", 96)
    assert code_of_part("prior") != before[0]
    assert code_of_part("profile") == before[1]


def test_fitted_thresholds_depend_on_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = copy_of_core(tmp_path, monkeypatch)
    before = code_of_part("fitted"), code_of_part("identity")
    edit(core / "calibration" / "teacache.py")
    assert code_of_part("fitted") != before[0]
    assert code_of_part("identity") == before[1]


def test_a_changed_calibration_is_made_again_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = copy_of_core(tmp_path, monkeypatch)
    for part in parts():
        path = artefact_path if part.name in code.PROBES else numbers_path
        path(tmp_path, part.name).write_text("{}", encoding="utf-8")
    assert all(part.is_done(tmp_path) for part in parts())
    edit(core / "calibration" / "teacache.py")
    assert {part.name for part in parts() if not part.is_done(tmp_path)} == {"coefficients", "fitted"}


def test_only_what_the_cells_take_is_calibrated() -> None:
    assert needed_parts([named("fora_50_percent")]) == set()
    assert needed_parts([named("fora_50_percent_error_optimized")]) == {"prior"}
    assert needed_parts([named("block_caching_50")]) == {"profile"}
    assert {"fitted", "coefficients"} <= needed_parts([named("teacache_fitted_50")])
    assert set(PICTURES) <= needed_parts(cells())

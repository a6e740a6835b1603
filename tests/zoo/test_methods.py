"""The benchmark of methods puts its cells on a real model of the zoo and holds them to their own arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

CELLS = (
    "fora_3_module",
    "fora_25_percent",
    "learning_to_cache_45",
    "mask_early",
    "step_list_3",
    "fora_25_percent_gradient_optimized",
)


@pytest.fixture(scope="module")
def pipeline(host_folder: Path) -> Any:
    """Return the zoo's SD3."""
    from zoo.sampling import load_pipeline

    return load_pipeline("sd3")


@pytest.fixture(scope="module")
def kit(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what cells need that is made by hand."""
    from quality.engine import load_engine
    from quality.kit import load_kit

    return load_kit(load_engine(), pipeline.model, tmp_path_factory.mktemp("kit"))


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_computes_what_its_definition_says(pipeline: Any, kit: Any, name: str) -> None:
    from quality.methods import cells
    from quality.sampling import draw

    [cell] = [cell for cell in cells() if cell.name == name]
    batch = draw(kit, pipeline, cell, [0])
    assert batch.refresh == pytest.approx([cell.share], abs=0.07)
    assert batch.latents.isfinite().all()


def test_a_cell_that_computes_something_else_stops_the_benchmark(pipeline: Any, kit: Any) -> None:
    from quality.methods import cells
    from quality.sampling import RatioError, draw

    [cell] = [cell for cell in cells() if cell.name == "fora_3_stack"]
    wrong = replace(cell, reuse_until=5, settings=(("interval", 3), ("level", "stack"), ("anchor", "end")))
    with pytest.raises(RatioError, match="fora_3_stack"):
        draw(kit, pipeline, wrong, [0])


def test_a_random_router_computes_what_it_says_on_a_real_model(
    pipeline: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quality import trained
    from quality.cells import Cell
    from quality.sampling import draw

    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    kit.engine.core.write_artefact(kit.artefacts["harmonica_50"], trained.path_of("learned"))
    cell = Cell(name="random", label="", method="harmonica", artefact="learned", variant="random 3")
    assert draw(kit, pipeline, cell, [0]).refresh == pytest.approx([0.5], abs=1e-3)


def test_a_kit_without_calibration_says_so_by_name(kit: Any) -> None:
    from quality.methods import cells

    [cell] = [cell for cell in cells() if cell.name == "block_caching_50"]
    with pytest.raises(KeyError, match="profile"):
        kit.policy(cell)

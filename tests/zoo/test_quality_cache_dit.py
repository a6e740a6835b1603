"""diffusers' networks and cache-dit in the benchmark of quality, where they are installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("skimage", reason="scikit-image is not installed")

# What the packages of others warn of is no fault of this project.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")


@pytest.fixture
def packages(host_folder: Path) -> None:
    """Skip where they cannot be imported."""
    from quality.fronts.dbcache import why_missing

    if line := why_missing(None):
        pytest.skip(line)


def _drawn(pipeline: Any, model: Any = None) -> Any:
    from metrics.study.cells import Cell
    from quality.engine import sigmas_of
    from quality.fronts.drawing import draw_latents

    drawing = replace(pipeline, model=model or pipeline.model)
    return draw_latents(drawing, Cell("euler", 6, 4.0), [18_990], sigmas_of(pipeline.model, 6))


@pytest.mark.parametrize("family", ["flux", "sd3", "pixart"])
def test_a_picture_of_diffusers_is_that_of_comfyui_but_for_rounding(packages: None, family: str) -> None:
    from metrics.fidelity import latent_error
    from quality.fronts.diffusers_models import HostNetwork, with_diffusers
    from zoo.sampling import load_pipeline

    own = with_diffusers(load_pipeline(family), family)
    assert isinstance(own.model.model.diffusion_model, HostNetwork)
    assert float(latent_error(_drawn(own), _drawn(load_pipeline(family)))) < 1e-4


@pytest.mark.parametrize(("family", "blocks"), [("flux", 12), ("sd3", 9), ("pixart", 10)])
def test_dbcache_skips_and_every_run_begins_anew(packages: None, family: str, blocks: int) -> None:
    from quality.fronts.counting import counted
    from quality.fronts.dbcache import carry
    from quality.fronts.diffusers_models import with_diffusers
    from zoo.sampling import load_pipeline

    own = with_diffusers(load_pipeline(family), family)
    model = carry(own.model, 3.0, 1, 1)
    with counted(model) as count:
        first = _drawn(own, model)
    # Four calls of all blocks, then two of one.
    assert count.share(12) == pytest.approx((4 * blocks + 2) / (6 * blocks))
    assert torch.equal(_drawn(own, model), first)

"""cache-dit in the benchmark of quality, as far as it needs none of its packages: who takes part, beside what, on which weights."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("skimage", reason="scikit-image is not installed")

from metrics.study.cells import Cell as Setting
from quality.fronts import diffusers_models
from quality.fronts.contenders import fronts
from quality.fronts.counting import blocks_of
from quality.fronts.dbcache import why_missing
from quality.fronts.diffusers_models import (
    EqualityError,
    HostNetwork,
    Kind,
    disagreement,
    taken,
    with_diffusers,
)
from quality.fronts.front import CACHE_DIT, Front, reference, uncached
from torch import Tensor, nn

SETTING = Setting("euler", 20, 4.0)
SHAPE = (2, 4, 6, 6)


def own_fronts(family: str, *, has_cache_dit: bool = True) -> list[Front]:
    found = fronts(SETTING, family, is_full=False, has_cache_dit=has_cache_dit)
    return [front for front in found if front.cells[0].method == CACHE_DIT]


# --- who takes part -----------------------------------------------------------------------------------------------


def test_without_its_packages_cache_dit_is_left_out_and_the_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cache_dit", None)
    line = why_missing(None)
    assert "it is left out" in line
    assert "--target FOLDER cache-dit diffusers" in line
    assert line.endswith("--cache-dit FOLDER")
    assert own_fronts("flux", has_cache_dit=False) == []


def test_packages_come_from_the_named_folder_behind_all_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "cache_dit", None)
    monkeypatch.delitem(sys.modules, "cache_dit")
    (tmp_path / "cache_dit.py").write_text("", encoding="utf-8")
    assert why_missing(tmp_path) == ""
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize(("family", "blocks"), [("flux", 2), ("sd3", 3), ("pixart", 3)])
def test_one_block_and_as_many_as_8_of_a_full_model_run_with_and_without_a_forecast(
    family: str, blocks: int
) -> None:
    names = [front.name for front in own_fronts(family)]
    assert names == [f"cache_dit_f{n}{end}" for n in (1, blocks) for end in ("", "_taylor")]


def test_its_threshold_is_tuned_for_every_front_to_the_shares_of_the_others() -> None:
    [teacache] = [one for one in fronts(SETTING, "flux", is_full=False) if one.name == "teacache"]
    for front in own_fronts("flux"):
        assert front.knob is not None
        assert front.knob.setting == "residual_diff_threshold"
        assert [cell.share for cell in front.cells] == [cell.share for cell in teacache.cells]
        assert all(cell.is_dynamic for cell in front.cells)


def test_it_is_compared_with_the_uncached_run_of_its_own_network_and_nothing_else_is() -> None:
    for front in fronts(SETTING, "flux", is_full=True, has_cache_dit=True):
        own = reference(SETTING, front.cells[0])
        assert (own == uncached(SETTING)) == (front.cells[0].method != CACHE_DIT)
        assert own.tuned == ("", "")


# --- equal weights ------------------------------------------------------------------------------------------------


def _call(network: Any, x: Tensor, time: Tensor, context: Tensor, pooled: Tensor | None) -> Tensor:
    found: Tensor = network(x) * time.view(-1, 1, 1, 1)
    return found


class Host(nn.Module):
    """A network as the host calls it."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor, timesteps: Tensor, **_: Any) -> Tensor:
        return x * self.gain * timesteps.view(-1, 1, 1, 1)


class Twin(nn.Module):
    """The same as diffusers would have it."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_part_of_a_weight_is_taken_and_then_changed() -> None:
    weights = {"qkv": torch.arange(6.0)}
    assert taken(weights, "qkv") is weights["qkv"]
    assert taken(weights, ("qkv", (0, 2, 2))).tolist() == [2, 3]
    assert taken(weights, ("qkv", None, lambda weight: weight.flip(0))).tolist() == [5, 4, 3, 2, 1, 0]


def test_networks_differ_by_what_their_outputs_do() -> None:
    own = HostNetwork(Twin(), _call)
    assert disagreement(Host(1.0), own, SHAPE, 1.0) == 0
    assert disagreement(Host(2.0), own, SHAPE, 1.0) == pytest.approx(0.5)


@pytest.mark.parametrize("gain", [1.0, 1.01])
def test_a_network_of_other_weights_never_draws(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    monkeypatch.setitem(diffusers_models.KINDS, "flux", Kind(lambda host, side: Twin(), _call, 1.0))
    host = Host(gain)
    patcher = SimpleNamespace(model=SimpleNamespace(diffusion_model=host))
    pipeline: Any = diffusers_models.Pipeline(patcher, None, 4, 48)
    if gain == 1.0:
        found = with_diffusers(pipeline, "flux").model.model.diffusion_model
        assert isinstance(found, HostNetwork)
        return
    with pytest.raises(EqualityError, match="on the same weights"):
        with_diffusers(pipeline, "flux")
    assert patcher.model.diffusion_model is host


def test_blocks_are_found_in_a_network_that_is_wrapped() -> None:
    twin = Twin()
    assert blocks_of(HostNetwork(twin, _call)) == blocks_of(twin) == list(twin.blocks)

"""Published layouts, as files of exactly that layout, read for networks they do and do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import published
import pytest
import torch
from torch import Tensor

from cache_core import Artefact, ArtefactError, Kind, Site
from cache_core.importers import import_published
from cache_core.importers.routers import ALWAYS
from cache_core.mapping import check_run

FLUX, PIXART = published.flux_sites(2, 1), published.pixart_sites(2)


def _read(path: Path, family: str, sites: tuple[Site, ...]) -> Artefact:
    return import_published(path, published.architecture(family, sites), sites)


def _rows(num_steps: int, num_entries: int) -> list[Tensor]:
    return [torch.arange(float(num_entries)) + 100 * key for key in range(num_steps)]


def _column(artefact: Artefact, site: str) -> list[float]:
    tensor = artefact.tensors["score" if artefact.kind is Kind.ROUTER else "compute"]
    values: list[float] = tensor[:, artefact.architecture.sites.index(site)].tolist()
    return values


def test_l2c_keys_count_from_the_last_step_and_odd_ones_are_full(tmp_path: Path) -> None:
    path = published.save_routers(
        tmp_path / "DDIM4_router.pt", _rows(4, 4), {"num_sampling_steps": 4, "l1": 1e-6}
    )
    router = _read(path, "pixart", PIXART)
    assert (router.kind, router.method, router.threshold) == (Kind.ROUTER, "learning_to_cache", 0.1)
    # Executed steps are keys 3, 2, 1, 0; of block 1 entry 2 is the attention and entry 3 the MLP.
    assert _column(router, "blocks.1.attn") == [ALWAYS, 202, ALWAYS, 2]
    assert _column(router, "blocks.1.mlp") == [ALWAYS, 203, ALWAYS, 3]
    assert router.made["l1"] == 1e-6 and router.name == "DDIM4_router.pt"


def test_l2c_with_an_odd_number_of_steps_begins_with_two_full_ones(tmp_path: Path) -> None:
    router = _read(published.save_routers(tmp_path / "r.pt", _rows(5, 4)), "pixart", PIXART)
    assert _column(router, "blocks.0.attn") == [ALWAYS, ALWAYS, 200, ALWAYS, 0]


def test_a_component_without_a_score_is_always_computed(tmp_path: Path) -> None:
    router = _read(published.save_routers(tmp_path / "r.pt", _rows(2, 4)), "pixart", PIXART)
    assert _column(router, "blocks.0.cross_attn") == [ALWAYS, ALWAYS]


def test_three_scores_per_block_name_the_cross_attention(tmp_path: Path) -> None:
    router = _read(published.save_routers(tmp_path / "r.pt", _rows(2, 6)), "pixart", PIXART)
    assert [_column(router, f"blocks.1.{part}")[1] for part in ("attn", "cross_attn", "mlp")] == [3, 4, 5]


def test_a_fused_site_takes_the_higher_score_and_both_streams_share_one(tmp_path: Path) -> None:
    router = _read(published.save_routers(tmp_path / "r.pt", _rows(2, 6)), "flux", FLUX)
    assert (
        _column(router, "double_blocks.1.img_attn")[1] == _column(router, "double_blocks.1.txt_attn")[1] == 2
    )
    assert _column(router, "double_blocks.1.txt_mlp")[1] == 3
    assert _column(router, "single_blocks.0.attn_mlp")[1] == 5


def test_harmonica_is_told_by_its_fixed_first_step_and_keeps_every_row(tmp_path: Path) -> None:
    rows = [*_rows(3, 4), torch.full((4,), 5.0)]
    router = _read(published.save_routers(tmp_path / "r.pt", rows, {"ste_threshold": 0.3}), "pixart", PIXART)
    assert (router.method, router.threshold) == ("harmonica", 0.3)
    assert _column(router, "blocks.0.mlp") == [5, 201, 101, 1]


def test_a_first_step_that_is_not_all_fixed_is_no_harmonica(tmp_path: Path) -> None:
    rows = [*_rows(3, 4), torch.tensor([5.0, 5.0, 5.0, 4.0])]
    assert (
        _read(published.save_routers(tmp_path / "r.pt", rows), "pixart", PIXART).method == "learning_to_cache"
    )


@pytest.mark.parametrize(
    ("num_entries", "args", "family", "sites", "fault"),
    [
        (
            56,
            {"model": "DiT-XL/2"},
            "flux",
            published.flux_sites(19, 38),
            "trained for 'DiT-XL/2' (56 scores per step)",
        ),
        (56, {"model": "DiT-XL/2"}, "pixart", published.pixart_sites(28), "this MODEL is 'pixart'"),
        (
            56,
            {},
            "flux",
            published.flux_sites(19, 38),
            "56 scores per step, this MODEL has 57 blocks, expected 114",
        ),
        (6, {}, "flux", published.flux_sites(2, 0), "expected 4 (attn, mlp)"),
        (5, {}, "pixart", PIXART, "expected 4 (attn, mlp) or 6 (attn, cross_attn, mlp)"),
    ],
)
def test_a_router_for_another_network_is_refused(
    tmp_path: Path, num_entries: int, args: dict[str, Any], family: str, sites: tuple[Site, ...], fault: str
) -> None:
    path = published.save_routers(tmp_path / "r.pt", _rows(4, num_entries), args)
    with pytest.raises(ArtefactError, match=r"The file 'r.pt' does not fit this MODEL") as caught:
        _read(path, family, sites)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("model", "family", "sites"),
    [
        ("stable-diffusion-3", "sd3", PIXART),
        ("SD-3.5-large", "sd3", PIXART),
        ("stabilityai/stable-diffusion-3.5-medium", "sd3", PIXART),
        ("PixArt_alpha", "pixart", PIXART),
        ("Pix-Art Sigma", "pixart", PIXART),
        ("black-forest-labs/FLUX.1-dev", "flux", FLUX),
    ],
)
def test_a_model_is_known_by_its_usual_names(
    tmp_path: Path, model: str, family: str, sites: tuple[Site, ...]
) -> None:
    path = published.save_routers(tmp_path / "r.pt", _rows(4, 6), {"model": model})
    router = _read(path, family, sites)
    assert router.made["model"] == model and check_run(router, published.even_run(4)) == ()


def test_a_router_of_no_named_model_comes_with_a_warning(tmp_path: Path) -> None:
    """DiT-XL's 56 scores come out even on PixArt's 28 blocks."""
    router = _read(
        published.save_routers(tmp_path / "r.pt", _rows(4, 56)), "pixart", published.pixart_sites(28)
    )
    [told] = check_run(router, published.even_run(4))
    assert told.startswith("'r.pt' does not say for which model it was made")


def test_a_uvit_router_is_refused_by_name(tmp_path: Path) -> None:
    path = published.save_uvit(tmp_path / "dpm20_router.pth", _rows(20, 58))
    with pytest.raises(ArtefactError, match=r"'dpm20_router.pth'.*it is a router for U-ViT"):
        _read(path, "pixart", PIXART)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"routers": {}},
        {"routers": {"0.prob": torch.zeros(4), "2.prob": torch.zeros(4)}},
        {"routers": {"0.prob": torch.zeros(4), "1.prob": torch.zeros(5)}},
        {"routers": {"0.prob": torch.zeros(2, 2)}},
        {"routers": {"0.prob": [0.0]}},
        {"routers": {"0.prob": torch.zeros(4, dtype=torch.int64)}},
    ],
)
def test_incomplete_routers_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save(content, tmp_path / "r.pt")
    with pytest.raises(ArtefactError, match="Expected a router file of Learning-to-Cache or HarmoniCa"):
        _read(tmp_path / "r.pt", "pixart", PIXART)


def test_a_file_that_is_no_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "r.pt")
    with pytest.raises(ArtefactError, match="holds a list, expected a dict"):
        _read(tmp_path / "r.pt", "pixart", PIXART)


def test_ecad_flux_follows_the_projection_of_the_fused_branch(tmp_path: Path) -> None:
    computed = {
        (0, "0", "full_attn"),
        (1, "1", "full_ff"),
        (2, "1", "full_ff_context"),
        (1, "single_0", "single_attn"),
        (2, "single_0", "single_proj_out"),
    }
    schedule = published.ecad_flux(2, 1, 3, lambda step, block, part: (step, block, part) in computed)
    path = published.save_ecad(tmp_path / "ours.json", schedule, num_blocks=2, num_single_blocks=1)
    mask = _read(path, "flux", FLUX)
    assert (mask.kind, mask.sampling.num_steps, mask.sampling.size) == (Kind.MASK, 3, (256, 256))
    assert _column(mask, "double_blocks.0.img_attn") == _column(mask, "double_blocks.0.txt_attn") == [1, 0, 0]
    assert _column(mask, "double_blocks.1.img_mlp") == [0, 1, 0]
    assert _column(mask, "double_blocks.1.txt_mlp") == [0, 0, 1]
    assert _column(mask, "single_blocks.0.attn_mlp") == [0, 0, 1]


def test_ecad_pixart_names_its_three_branches(tmp_path: Path) -> None:
    block = {"attn1": True, "attn2": False, "ff": True}
    path = published.save_ecad(tmp_path / "ours.json", {"000": {"0": block, "1": block}}, num_blocks=2)
    mask = _read(path, "pixart", PIXART)
    assert mask.tensors["compute"].tolist() == [[True, False, True] * 2]


@pytest.mark.parametrize(
    ("schedule", "described", "family", "fault"),
    [
        ({"000": {"0": {}}}, {"num_blocks": 2}, "pixart", "says nothing about step 0, block '0', 'attn1'"),
        ({"000": 1}, {"num_blocks": 2}, "pixart", "says nothing about step 0"),
        ({"000": {"0": {"attn1": 1}}}, {"num_blocks": 2}, "pixart", "is 1, expected true or false"),
        ({}, {"num_blocks": 28}, "pixart", "a network of [28] blocks, this MODEL has [2]"),
        ({}, {"num_blocks": 2, "num_single_blocks": 1}, "pixart", "[2, 1] blocks, this MODEL has [2]"),
        ({}, {"num_blocks": 2, "num_inference_steps": 20}, "pixart", "says 20 steps and has 0"),
        ({}, {"num_blocks": 2, "num_inference_steps": "20"}, "pixart", "says '20' steps"),
        ({}, {"num_blocks": 2}, "sd3", "ECAD's schedules are for flux and pixart, this MODEL is 'sd3'"),
    ],
)
def test_an_ecad_file_that_does_not_fit_is_refused(
    tmp_path: Path, schedule: dict[str, Any], described: dict[str, Any], family: str, fault: str
) -> None:
    path = published.save_ecad(tmp_path / "x.json", schedule, **described)
    with pytest.raises(ArtefactError, match=r"The file 'x.json' does not fit") as caught:
        _read(path, family, PIXART)
    assert fault in str(caught.value)


def _smooth(path: Path, **lists: Any) -> Path:
    path.write_text(
        json.dumps({name.replace("__", "-"): steps for name, steps in lists.items()}), encoding="utf-8"
    )
    return path


def test_smoothcache_lists_are_for_all_blocks_or_for_one(tmp_path: Path) -> None:
    path = _smooth(tmp_path / "x.json", attn1=[1, 0, 1], attn1__1=[1, 1, 0], ff=[1, 0, 0])
    mask = _read(path, "pixart", PIXART)
    assert _column(mask, "blocks.0.attn") == [1, 0, 1]
    assert _column(mask, "blocks.1.attn") == [1, 1, 0]
    assert _column(mask, "blocks.1.mlp") == [1, 0, 0]
    assert _column(mask, "blocks.0.cross_attn") == [1, 1, 1], "what has no list is computed"


def test_smoothcache_computes_a_fused_site_where_any_part_is_computed(tmp_path: Path) -> None:
    mask = _read(_smooth(tmp_path / "x.json", attn=[1, 0, 0], mlp=[1, 1, 0]), "flux", FLUX)
    assert _column(mask, "single_blocks.0.attn_mlp") == [1, 1, 0]
    assert _column(mask, "double_blocks.0.txt_attn") == [1, 0, 0]


@pytest.mark.parametrize(
    ("lists", "fault"),
    [
        ({}, "its lists have [] steps"),
        ({"attn1": [1, 0], "ff": [1]}, "its lists have [1, 2] steps, expected one number for all"),
        ({"attn1": []}, "its lists have [0] steps"),
        ({"attn1": [1, 2]}, "'attn1' is no list of 1 (compute) and 0 (reuse)"),
        ({"attn1": "10"}, "'attn1' is no list"),
        ({"router": [1]}, "it has an entry 'router', expected attn"),
        ({"attn1__9": [1]}, "it names 'attn1-9', this MODEL has 3 blocks of attn, mlp"),
        ({"attn2": [1]}, "it names 'attn2', this MODEL has 3 blocks of attn, mlp"),
    ],
)
def test_a_smoothcache_file_that_does_not_fit_is_refused(
    tmp_path: Path, lists: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ArtefactError, match=r"The file 'x.json' does not fit") as caught:
        _read(_smooth(tmp_path / "x.json", **lists), "flux", FLUX)
    assert fault in str(caught.value)

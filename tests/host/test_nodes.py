"""The nodes, called as the executor calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import real
import torch

NODES: list[str] = list(
    json.loads((Path(__file__).parent.parent / "golden" / "node_schema.json").read_text(encoding="utf-8"))
)
"""Ids of the nodes that users have in their workflows."""


def test_nodes_are_found(host: real.Host) -> None:
    assert set(host.nodes) == set(NODES)


def test_the_original_model_is_untouched(flux: Any, cached: Callable[..., Any]) -> None:
    model = cached(flux)
    assert model is not flux
    assert flux.wrappers == {}
    assert real.instance_forwards(flux) == []


def test_second_cache_is_refused(flux: Any, cached: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"already carries a cache \(FORA: interval=3.*remove one"):
        cached(cached(flux, interval=3))


def test_lora_between_keeps_the_cache(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    """A clone of a cached model, as a LoRA loader makes it, is still cached, and reports to the same place."""
    clone = cached(flux).clone()
    real.sample(clone)
    assert report(clone).num_reused > 0
    with pytest.raises(ValueError, match="already carries a cache"):
        cached(clone)


def test_unknown_family_is_refused_before_sampling(
    host: real.Host, flux: Any, cached: Callable[..., Any]
) -> None:
    flux.add_object_patch("diffusion_model", torch.nn.Linear(1, 1))
    with pytest.raises(
        ValueError,
        match=r"No cache for the network 'torch.nn.*Linear'. Supported families: chroma, flux, pixart, sd3\.",
    ):
        cached(flux)


def test_known_class_with_foreign_blocks_is_refused(flux: Any, cached: Callable[..., Any]) -> None:
    import comfy.ldm.flux.model

    class Foreign(comfy.ldm.flux.model.Flux):  # type: ignore[misc]
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.double_blocks = torch.nn.ModuleList([torch.nn.Linear(1, 1)])
            self.single_blocks = torch.nn.ModuleList()

    flux.add_object_patch("diffusion_model", Foreign())
    with pytest.raises(ValueError, match=r"double_blocks.0 has no sub-module 'img_attn.proj'"):
        cached(flux)


def test_a_subclass_that_keeps_the_blocks_is_accepted(flux: Any, cached: Callable[..., Any]) -> None:
    network = real.network_of(flux)
    network.__class__ = type("Sub", (type(network),), {})
    assert real.sample(cached(flux)) is not None


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.9, 0.2)])
def test_a_window_in_which_nothing_fits_is_refused(
    flux: Any, cached: Callable[..., Any], start: float, end: float
) -> None:
    with pytest.raises(ValueError, match=f"'start_percent' is {start} and 'end_percent' {end}"):
        cached(flux, start, end)


def test_nothing_is_reused_outside_the_window(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    model = cached(flux, 0.25, 0.75, interval=10)
    real.sample(model, steps=8)
    # Sigmas are 1, .875 ... .125; the window's ends, .75 and .25, belong to it as in the host's own ranges.
    assert [call.full for call in report(model).calls] == [
        True,
        True,
        False,
        False,
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("cls", NODES)
def test_every_input_has_a_tooltip(host: real.Host, cls: str) -> None:
    schema = host.nodes[cls].define_schema()
    for given in schema.inputs:
        for each in given.get_all() if hasattr(given, "get_all") else [given]:
            assert each.tooltip, each.id
    assert schema.description and schema.search_aliases


def test_report_shows_table_and_picture(host: real.Host, flux: Any, cached: Callable[..., Any]) -> None:
    model = cached(flux)
    samples = real.sample(model, cfg=4.0)
    output = host.nodes["FeatureCacheReport"].execute(model, {"samples": samples})
    picture, text = output.result
    assert picture.shape[0] == 1 and picture.shape[3] == 3 and 0.0 <= picture.min() <= picture.max() <= 1.0
    assert "refresh ratio 0.667" in text and "0 bytes left" in text and "speedup" in text
    assert len(text.split("reused\n")[-1].splitlines()) == 6
    shown = output.ui if isinstance(output.ui, dict) else output.ui.as_dict()
    assert shown["text"] == (text,) and len(shown["images"]) == 1
    assert shown["feature_cache_report"][0]["refresh_ratio"] == pytest.approx(2 / 3)


def test_picture_shows_what_was_done(host: real.Host, flux: Any, cached: Callable[..., Any]) -> None:
    drawing = host.module("nodes.picture")
    for interval, colours in ((1, {"COMPUTED"}), (2, {"COMPUTED", "REUSED"})):
        model = cached(flux, interval=interval)
        real.sample(model)
        report = host.module("nodes.host").find_binding(model).ledger.report
        pixels = (drawing.draw(report)[0] * 255).round().to(torch.uint8)
        bars = pixels[-140:-60, 206:]
        for name in ("COMPUTED", "REUSED"):
            found = (bars == torch.tensor(getattr(drawing, name), dtype=torch.uint8)).all(-1).any()
            assert bool(found) == (name in colours), name


def test_report_without_a_cache_says_what_to_connect(host: real.Host, flux: Any) -> None:
    with pytest.raises(ValueError, match=r"carries no cache.*Connect the output of a Feature Cache"):
        host.nodes["FeatureCacheReport"].execute(flux, {})


def test_report_before_sampling_says_what_to_connect(
    host: real.Host, flux: Any, cached: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match="has not been sampled"):
        host.nodes["FeatureCacheReport"].execute(cached(flux), {})


def test_report_of_an_earlier_prompt_says_so(host: real.Host, flux: Any, cached: Callable[..., Any]) -> None:
    model = cached(flux)
    real.sample(model)
    host.module("nodes.host").find_binding(model).ledger.prompt_id = "an earlier one"
    assert host.nodes["FeatureCacheReport"].execute(model, {}).result[1].startswith("From an earlier run")

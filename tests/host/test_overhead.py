"""The overhead benchmark on networks so small that it takes a moment: what it measures, not how much."""

from __future__ import annotations

import overhead
import pytest
import real
import torch
from overhead_networks import FULL, SMALL, Recipe

TINY = (
    Recipe(name="Flux", family="flux", width=128, heads=1, depth=1, singles=2, text=4),
    Recipe(name="SD3", family="sd3", width=128, heads=2, depth=2, text=4),
    Recipe(name="PixArt", family="pixart", width=128, heads=2, depth=2, text=4),
)


@pytest.mark.parametrize("recipe", TINY, ids=lambda recipe: recipe.name)
def test_every_level_is_measured_computing_and_reusing(host: real.Host, recipe: Recipe) -> None:
    with torch.inference_mode():
        rows = overhead.measure(host.module("cache_core"), recipe(), rounds=2)
    assert [row.level for row in rows] == ["module", "block", "stack", "model"]
    assert all(row.seconds > 0 and row.held_bytes > 0 and row.peak_bytes is None for row in rows)
    held = [row.held_bytes for row in rows]
    assert held == sorted(held, reverse=True), "the coarser the level, the less is held"
    assert rows[-1].reused < rows[0].reused, "a reused network output leaves nothing to run"


@pytest.mark.parametrize("recipe", TINY, ids=lambda recipe: recipe.name)
def test_the_cached_call_is_the_plain_one(host: real.Host, recipe: Recipe) -> None:
    network = recipe()
    with torch.inference_mode():
        engine = overhead.Engine(host.module("cache_core"), network, "module", 1)
        assert torch.equal(engine.call(), network.call())


def test_recipes_are_the_published_widths() -> None:
    assert {recipe.width for recipe in SMALL} == {512, 1024, 2048}
    assert [(recipe.width, recipe.depth, recipe.singles) for recipe in FULL] == [
        (3072, 19, 38),
        (2432, 38, 0),
        (1152, 28, 0),
    ]
    assert all(recipe.width % recipe.heads == 0 for recipe in (*SMALL, *FULL))


def test_a_row_reads_as_percentages() -> None:
    row = overhead.Row(
        network="Flux",
        width=512,
        level="module",
        seconds=0.1234,
        computed=0.0123,
        spread=(-0.001, 0.02),
        reused=0.05,
        peak_bytes=None,
        held_bytes=2_500_000,
    )
    assert overhead.table([row]).splitlines()[-1] == (
        "| Flux | 512 | module | 0.123 | +1.2% | -0.1% to +2.0% | 5.0% | 2.5 |"
    )

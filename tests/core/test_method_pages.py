"""What every method's page must say: its source, its equation, and what it holds on published models."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import cache_core
from cache_core import CORRECTIONS, POLICIES

OWN = [
    owner
    for owner in (*POLICIES.values(), *CORRECTIONS.values())
    if owner.__module__.startswith("cache_core.")
]


def _page(root: Path, owner: Any) -> str:
    return (root / "docs" / "methods" / f"{owner.name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("owner", OWN, ids=lambda owner: owner.name)
def test_a_page_displays_the_equation(owner: Any) -> None:
    text = inspect.cleandoc(inspect.getmodule(owner).__doc__ or "")
    displayed = re.findall(r"(?<=\n\n)((?:    .+\n)+)(?=\n)", text)
    assert any(re.search(r"[=<>]", lines) for lines in displayed)


@pytest.mark.parametrize("owner", OWN, ids=lambda owner: owner.name)
def test_a_page_tells_what_is_held_on_published_models(root: Path, owner: Any) -> None:
    rows = re.findall(
        r"^\| (FLUX\.1-dev|SD3\.5-large|PixArt-Sigma), .*MB \|$", _page(root, owner), re.MULTILINE
    )
    assert rows == ["FLUX.1-dev", "SD3.5-large", "PixArt-Sigma"]


@pytest.mark.parametrize(
    ("title", "gigabytes"), [("FLUX.1-dev", 2.15), ("SD3.5-large", 3.14), ("PixArt-Sigma", 1.58)]
)
def test_what_fora_holds_is_the_arithmetic_by_hand(title: str, gigabytes: float) -> None:
    """Tokens times width times two bytes, over the branches of all blocks: both prompts where guidance is computed."""
    import footprints

    [network] = [one for one in footprints.PUBLISHED if one.title == title]
    fora = POLICIES["fora"]
    held = footprints.held_bytes(cache_core, network, fora(fora.config_type(level="module")))
    assert held / 1e9 == pytest.approx(gigabytes, rel=0.01)

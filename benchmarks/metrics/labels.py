"""What a picture's caption says, as classes that a network can learn and a metric can count.

A head answers one question at each of its sites: at the nine places of the pictures' grid, at the three rows
that lettering may stand in, or once for the picture.

B pictures, S sites of a head (9, 3 or 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor
from zoo.scenes import Background, Scene
from zoo.vocabulary import (
    BACKDROPS,
    BACKGROUND_KINDS,
    COLOURS,
    FONTS,
    GLYPHS,
    POSITIONS,
    ROWS,
    SHAPES,
    SIZES,
    TEXTURES,
    WORDS,
)

Site = Literal["place", "row", "picture"]
SITES: dict[Site, tuple[str, ...]] = {
    "place": tuple(POSITIONS),
    "row": tuple(ROWS),
    "picture": ("picture",),
}
NOTHING = "nothing"
UNNAMED = -1
"""The label where the caption says nothing; PyTorch's losses are told to ignore it."""
ROUND_SHAPES = ("circle", "ring")


@dataclass(frozen=True)
class Head:
    """One question about a picture: where it is asked, and the possible answers."""

    name: str
    site: Site
    words: tuple[str, ...]


def _backdrop(names: Sequence[str]) -> str:
    """Background colours without their order, which stripes, checks and clouds do not show."""
    return "+".join(sorted(names))


HEADS = (
    Head("shape", "place", (*SHAPES, NOTHING)),
    Head("colour", "place", tuple(COLOURS)),
    Head("texture", "place", TEXTURES),
    Head("size", "place", tuple(SIZES)),
    Head("tilt", "place", ("upright", "tilted")),
    Head("text", "row", (*GLYPHS, *WORDS, NOTHING)),
    Head("ink", "row", tuple(COLOURS)),
    Head("font", "row", FONTS),
    Head("background", "picture", BACKGROUND_KINDS),
    Head(
        "backdrop",
        "picture",
        tuple(map(_backdrop, [*combinations(BACKDROPS, 1), *combinations(BACKDROPS, 2)])),
    ),
    Head("relief", "picture", ("edges", "shadows")),
)
HEAD = {head.name: head for head in HEADS}
Labels = dict[str, Tensor]
"""Per head (B, S) int64: indices into its words, `UNNAMED` where the caption says nothing."""


def label_scenes(scenes: Sequence[Scene]) -> Labels:
    """The classes of each scene.

    Args:
        scenes: B scenes.

    Returns:
        Labels of all heads. "shape" and "text" say `NOTHING` at empty sites, the others are unnamed there.
    """
    rows = [_answers(scene) for scene in scenes]
    return {head.name: torch.tensor([_indices(head, row[head.name]) for row in rows]) for head in HEADS}


def backdrop_members() -> Tensor:
    """Which backdrop colours each answer of the head "backdrop" holds: (answers, 10) bool."""
    answers = HEAD["backdrop"].words
    return torch.tensor([[name in answer.split("+") for name in BACKDROPS] for answer in answers])


def _indices(head: Head, answers: dict[str, str]) -> list[int]:
    default = head.words.index(NOTHING) if NOTHING in head.words else UNNAMED
    return [head.words.index(answers[site]) if site in answers else default for site in SITES[head.site]]


def _answers(scene: Scene) -> dict[str, dict[str, str]]:
    """Per head, what is said at which site."""
    items = {item.position: item for item in scene.items}
    answers = {
        name: {place: str(getattr(item, name)) for place, item in items.items()}
        for name in ("shape", "colour", "texture", "size")
    }
    answers["tilt"] = {
        place: "tilted" if item.is_tilted else "upright"
        for place, item in items.items()
        if item.shape not in ROUND_SHAPES
    }
    return {**answers, **_lettering_answers(scene), **_background_answers(scene)}


def _lettering_answers(scene: Scene) -> dict[str, dict[str, str]]:
    if scene.lettering is None:
        return {"text": {}, "ink": {}, "font": {}}
    row, lettering = scene.lettering.row, scene.lettering
    return {"text": {row: lettering.text}, "ink": {row: lettering.colour}, "font": {row: lettering.font}}


def _background_answers(scene: Scene) -> dict[str, dict[str, str]]:
    background: Background = scene.background
    names = [background.first] if background.kind == "plain" else [background.first, background.second]
    return {
        "background": {"picture": background.kind},
        "backdrop": {"picture": _backdrop(names)},
        "relief": {"picture": "shadows" if scene.has_shadows else "edges"},
    }

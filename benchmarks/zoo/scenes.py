"""Seeded, captioned scenes: what is in a picture, sampled without limit and independent of resolution.

A scene is an attribute record; `rendering.render` draws it and `caption` says it in words. Existing scenes
never change: sampling draws from `random.Random(str).random()` only, the one sequence that Python promises
to keep, and later additions may only be new options. A classifier can be trained on the attributes
directly.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from .vocabulary import (
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

Split = Literal["train", "held-out"]
T = TypeVar("T")

_ROUND_SHAPES = frozenset({"circle", "ring"})
_HELD_OUT_MODULUS = 16
_LIGHT_BACKDROPS = frozenset({"ivory", "sky", "mint", "lilac", "peach", "sand"})


@dataclass(frozen=True)
class Item:
    """One object of a scene; position and radius as fractions of the picture's side, the angle in degrees."""

    shape: str
    colour: str
    texture: str
    size: str
    position: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def is_tilted(self) -> bool:
        """Whether the rotation is visible enough that the caption names it."""
        return abs(self.angle) >= 10.0


@dataclass(frozen=True)
class Lettering:
    """A glyph or short word; `width` and `height` bound its extent, as fractions of the side."""

    text: str
    font: str
    colour: str
    row: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Background:
    """What lies behind everything. `frequency` counts stripes or checks; `seed` fixes the cloud texture."""

    kind: str
    first: str
    second: str
    frequency: int
    phase: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """Everything there is to know about one picture; items are ordered from back to front."""

    background: Background
    items: tuple[Item, ...]
    lettering: Lettering | None
    has_shadows: bool


class _Dice:
    """Draws that use only `Random.random()`, whose sequence is kept across Python versions."""

    def __init__(self, key: str) -> None:
        self._random = random.Random(key)

    def uniform(self, low: float, high: float) -> float:
        return round(low + (high - low) * self._random.random(), 4)

    def choose(self, options: Sequence[T]) -> T:
        return options[int(self._random.random() * len(options))]

    def happens(self, probability: float) -> bool:
        return self._random.random() < probability


def sample_scene(seed: int, index: int, split: Split = "train") -> Scene:
    """Scene number `index` of a seeded, unlimited sequence.

    The splits share no caption: a scene belongs to the split that `split_of` computes from its caption, and
    this function redraws until that is `split`.

    Args:
        seed: Which sequence.
        index: Which scene of it, 0 or more.
        split: Which half of the world to draw from.

    Returns:
        The scene; the same arguments always give the same one.

    Raises:
        ValueError: If `index` is negative or `split` unknown.
    """
    if index < 0 or split not in ("train", "held-out"):
        raise ValueError(
            f'sample_scene: got index {index} and split "{split}"; expected an index of 0 or more, and '
            '"train" or "held-out"; correct the argument'
        )
    dice = _Dice(f"zoo-scene/1/{seed}/{index}")
    scene = _draw_scene(dice)
    while split_of(scene) != split:
        scene = _draw_scene(dice)
    return scene


def split_of(scene: Scene) -> Split:
    """The split a scene belongs to: one caption in 16 is held out."""
    return "held-out" if zlib.crc32(caption(scene).encode("ascii")) % _HELD_OUT_MODULUS == 0 else "train"


def caption(scene: Scene) -> str:
    """One sentence naming all that is visible: lettering, items from back to front, background, relief."""
    clauses = [] if scene.lettering is None else [_say_lettering(scene.lettering)]
    clauses += [_say_item(item) for item in scene.items]
    relief = "shadows" if scene.has_shadows else "edges"
    return ", ".join([*clauses, f"on {_say_background(scene.background)} with {relief}"])


def _say_lettering(lettering: Lettering) -> str:
    noun = "letter" if len(lettering.text) == 1 else "word"
    return f'the {noun} "{lettering.text}" in {lettering.font} {lettering.colour} at the {lettering.row}'


def _say_item(item: Item) -> str:
    words = [item.size, "tilted" if item.is_tilted else "", "" if item.texture == "plain" else item.texture]
    return f"a {' '.join([*filter(None, words), item.colour, item.shape])} at the {item.position}"


def _say_background(background: Background) -> str:
    if background.kind == "plain":
        return f"plain {background.first}"
    return f"{background.first} and {background.second} {background.kind}"


def _draw_scene(dice: _Dice) -> Scene:
    background = _draw_background(dice)
    lettering = _draw_lettering(dice, background) if dice.happens(0.5) else None
    cells = [name for name in POSITIONS if lettering is None or not _is_in_row(name, lettering.row)]
    most = 4 if lettering is None else 3
    count = 1 + int(dice.uniform(0.0, 0.9999) * most)
    items = []
    for _ in range(count):
        position = dice.choose(cells)
        cells.remove(position)
        items.append(_draw_item(dice, position, background, count))
    return Scene(
        background=background, items=tuple(items), lettering=lettering, has_shadows=dice.happens(0.5)
    )


def _is_in_row(position: str, row: str) -> bool:
    return abs(POSITIONS[position][1] - ROWS[row]) < 0.15


def _draw_background(dice: _Dice) -> Background:
    light = dice.happens(0.65)
    family = [name for name in BACKDROPS if (name in _LIGHT_BACKDROPS) == light]
    first = dice.choose(family)
    return Background(
        kind=dice.choose(BACKGROUND_KINDS),
        first=first,
        second=dice.choose([name for name in family if name != first]),
        frequency=dice.choose((3, 4, 5, 6)),
        phase=dice.uniform(0.0, 1.0),
        seed=int(dice.uniform(0.0, 1.0) * 10000),
    )


def _draw_item(dice: _Dice, position: str, background: Background, count: int) -> Item:
    sizes = ("medium", "large", "large") if count == 1 else ("small", "medium", "medium", "large")
    size, shape = dice.choose(sizes), dice.choose(SHAPES)
    x, y = POSITIONS[position]
    turns = shape not in _ROUND_SHAPES and dice.happens(0.4)
    angle = dice.uniform(12.0, 38.0) * dice.choose((-1.0, 1.0)) if turns else 0.0
    radius = dice.uniform(*SIZES[size])
    return Item(
        shape=shape,
        colour=dice.choose(_visible_colours(background)),
        texture=dice.choose(("plain", *TEXTURES)),
        size=size,
        position=position,
        x=_keep_inside(x + dice.uniform(-0.04, 0.04), radius),
        y=_keep_inside(y + dice.uniform(-0.04, 0.04), radius),
        radius=radius,
        angle=angle,
    )


def _keep_inside(centre: float, radius: float) -> float:
    margin = 1.08 * radius
    return round(min(max(centre, margin), 1.0 - margin), 4)


def _draw_lettering(dice: _Dice, background: Background) -> Lettering:
    is_glyph = dice.happens(0.4)
    row = dice.choose(tuple(ROWS))
    return Lettering(
        text=dice.choose(GLYPHS) if is_glyph else dice.choose(WORDS),
        font=dice.choose(FONTS),
        colour=dice.choose(_visible_colours(background)),
        row=row,
        x=dice.uniform(0.46, 0.54),
        y=round(ROWS[row] + dice.uniform(-0.015, 0.015), 4),
        width=dice.uniform(0.7, 0.84),
        height=dice.uniform(0.25, 0.28) if is_glyph else dice.uniform(0.19, 0.22),
    )


def _visible_colours(background: Background) -> list[str]:
    hidden = {"white"} if background.first in _LIGHT_BACKDROPS else {"black", "brown"}
    return [name for name in COLOURS if name not in hidden]

"""Draws a scene at any resolution: geometry supersampled with Pillow, textures with NumPy."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .scenes import Background, Item, Lettering, Scene
from .shapes import outline
from .vocabulary import BACKDROPS, COLOURS

Array = NDArray[np.float32]
MIN_SIZE, MAX_SIZE = 64, 512
_FONT_FILES = {
    "sans": "DejaVuSans.ttf",
    "bold": "DejaVuSans-Bold.ttf",
    "serif": "DejaVuSerif.ttf",
    "mono": "DejaVuSansMono.ttf",
}
_REFERENCE_POINTS = 100


def render(scene: Scene, size: int) -> NDArray[np.uint8]:
    """Draw a scene with antialiased edges.

    Args:
        scene: What to draw.
        size: Side of the square picture in pixels, 64 to 512.

    Returns:
        (size, size, 3) uint8, sRGB.

    Raises:
        ValueError: If `size` is out of range.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(
            f"render: got size {size}; expected {MIN_SIZE} to {MAX_SIZE} pixels; choose one in that range"
        )
    factor = _supersampling(size)
    canvas = _paint_background(scene.background, size * factor)
    for item in scene.items:
        _paint_item(canvas, item, scene.has_shadows)
    if scene.lettering is not None:
        _paint_lettering(canvas, scene.lettering)
    return np.asarray(canvas.reduce(factor))


def _supersampling(size: int) -> int:
    if size < 96:
        return 4
    return 3 if size <= 192 else 2


def _paint_background(background: Background, side: int) -> Image.Image:
    first, second = (
        Image.new("RGB", (side, side), BACKDROPS[name]) for name in (background.first, background.second)
    )
    return Image.composite(second, first, _mask_of(_background_mix(background, side)))


def _mask_of(mix: Array) -> Image.Image:
    return Image.fromarray((mix * 255.0).astype(np.uint8))


def _background_mix(background: Background, side: int) -> Array:
    """How much of the second colour each pixel has: (side, side) in [0, 1]."""
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = axis[None, :], axis[:, None]
    kind, phase, frequency = background.kind, background.phase, background.frequency
    mix: NDArray[Any]
    if kind == "plain":
        mix = np.zeros((1, 1), np.float32)
    elif kind == "vertical gradient":
        mix = y
    elif kind == "horizontal gradient":
        mix = x
    elif kind == "radial gradient":
        mix = np.clip(np.hypot(x - 0.5, y - 0.5) * 1.5, 0.0, 1.0)
    elif kind == "clouds":
        mix = _clouds(background.seed, side)
    elif kind == "checks":
        mix = (np.floor(x * frequency + phase) + np.floor(y * frequency + phase)) % 2.0
    else:
        along = {"vertical stripes": x, "horizontal stripes": y, "diagonal stripes": (x + y) * 0.7071}[kind]
        mix = np.floor(along * 2.0 * frequency + 2.0 * phase) % 2.0
    full: Array = np.broadcast_to(mix, (side, side)).astype(np.float32)
    return full


def _clouds(seed: int, side: int) -> Array:
    """Two octaves of smoothly interpolated random values, stretched to [0, 1]."""
    dice = random.Random(f"zoo-clouds/{seed}")
    total = np.zeros((side, side), np.float32)
    for cells, weight in ((4, 0.7), (9, 0.3)):
        grid = np.array([dice.random() for _ in range(cells * cells)], np.float32).reshape(cells, cells)
        total += weight * np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC))
    stretched: Array = np.clip((total - 0.2) / 0.6, 0.0, 1.0)
    return stretched


def _paint_item(canvas: Image.Image, item: Item, has_shadow: bool) -> None:
    side = canvas.size[0]
    radius = item.radius * side
    reach = int(radius * 1.4) + 8
    corner = (int(item.x * side) - reach, int(item.y * side) - reach)
    centre = (item.x * side - corner[0], item.y * side - corner[1])
    parts = [
        [tuple(point) for point in part] for part in outline(item.shape).placed(centre, radius, item.angle)
    ]
    fill = _fill_mask(parts, 2 * reach)
    colour = COLOURS[item.colour]
    if has_shadow:
        canvas.paste((0, 0, 0), corner, _shadow_of(fill, side))
    canvas.paste(_paint_texture(item, 2 * reach, centre, radius), corner, fill)
    if item.texture == "outlined":
        canvas.paste(colour, corner, _edge_mask(parts, fill, 0.3 * radius))
    if not has_shadow:
        dark = 235 if item.colour == "black" else 24
        canvas.paste((dark, dark, dark), corner, _line_mask(parts, 2 * reach, 0.009 * side))


def _fill_mask(parts: list[list[tuple[float, ...]]], side: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for part, value in zip(parts, (255, 0), strict=False):
        draw.polygon(part, fill=value)
    return mask


def _line_mask(parts: list[list[tuple[float, ...]]], side: int, width: float) -> Image.Image:
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for part in parts:
        draw.line([*part, part[0], part[1]], fill=255, width=max(2, round(width)), joint="curve")
    return mask


def _edge_mask(parts: list[list[tuple[float, ...]]], fill: Image.Image, width: float) -> Image.Image:
    lines = _line_mask(parts, fill.size[0], width)
    return Image.composite(lines, Image.new("L", fill.size), fill)


def _shadow_of(fill: Image.Image, side: int) -> Image.Image:
    offset = round(0.022 * side)
    moved = Image.new("L", fill.size)
    moved.paste(fill, (offset, offset))
    return moved.filter(ImageFilter.BoxBlur(0.014 * side)).point(
        [round(0.55 * value) for value in range(256)]
    )


def _companion(colour: str) -> tuple[int, int, int]:
    """The second colour of a texture: a tint of the first, or a shade of it where the first is light."""
    target, amount = (0, 0.4) if colour in ("white", "yellow") else (255, 0.7)
    red, green, blue = (round(channel + (target - channel) * amount) for channel in COLOURS[colour])
    return red, green, blue


def _paint_texture(item: Item, side: int, centre: tuple[float, float], radius: float) -> Image.Image:
    plain, companion = (
        Image.new("RGB", (side, side), value) for value in (COLOURS[item.colour], _companion(item.colour))
    )
    if item.texture in ("plain", "outlined"):
        return plain if item.texture == "plain" else companion
    return Image.composite(companion, plain, _mask_of(_texture(item, side, centre, radius)))


def _texture(item: Item, side: int, centre: tuple[float, float], radius: float) -> Array:
    """How much of the companion colour each pixel of the item's frame has: (side, side) in [0, 1]."""
    axis = np.arange(side, dtype=np.float32) + 0.5
    x, y = (axis[None, :] - centre[0]) / radius, (axis[:, None] - centre[1]) / radius
    turn = np.deg2rad(item.angle)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mix: NDArray[Any]
    if item.texture == "striped":
        mix = np.floor((x + y) * 1.9) % 2.0
    elif item.texture == "checked":
        mix = (np.floor(x * 2.2) + np.floor(y * 2.2)) % 2.0
    elif item.texture == "dotted":
        mix = np.hypot((x * 2.0) % 1.0 - 0.5, (y * 2.0) % 1.0 - 0.5) < 0.3
    else:
        mix = np.clip(1.0 - np.hypot(x + 0.4, y + 0.4) / 1.3, 0.0, 1.0)
    single: Array = mix.astype(np.float32)
    return single


def _paint_lettering(canvas: Image.Image, lettering: Lettering) -> None:
    side = canvas.size[0]
    ink = COLOURS[lettering.colour]
    halo = 24 if sum(ink) > 300 else 248
    ImageDraw.Draw(canvas).text(
        (lettering.x * side, lettering.y * side),
        lettering.text,
        fill=ink,
        font=_fitted_font(lettering, side),
        anchor="mm",
        stroke_width=max(2, round(0.011 * side)),
        stroke_fill=(halo, halo, halo),
    )


def _fitted_font(lettering: Lettering, side: int) -> ImageFont.FreeTypeFont:
    """The font at the largest size that keeps the text within the lettering's width and height."""
    wide, high = _extent(lettering.font, lettering.text)
    scale = min(lettering.width / wide, lettering.height / high)
    return _font(lettering.font, max(8, round(scale * side)))


@cache
def _extent(font: str, text: str) -> tuple[float, float]:
    left, top, right, bottom = _font(font, _REFERENCE_POINTS).getbbox(text)
    return (right - left) / _REFERENCE_POINTS, (bottom - top) / _REFERENCE_POINTS


@cache
def _font(font: str, points: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / _FONT_FILES[font]
    return ImageFont.truetype(str(path), points, layout_engine=ImageFont.Layout.BASIC)

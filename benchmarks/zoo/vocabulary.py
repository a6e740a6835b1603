"""The words of the captions: colours, shapes, textures, sizes, places, fonts and what may be written."""

from __future__ import annotations

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 38, 38),
    "orange": (245, 130, 32),
    "yellow": (250, 210, 40),
    "green": (40, 160, 70),
    "cyan": (40, 190, 205),
    "blue": (40, 80, 215),
    "purple": (130, 60, 190),
    "pink": (240, 120, 175),
    "brown": (130, 80, 45),
    "gray": (128, 128, 132),
    "white": (248, 248, 248),
    "black": (28, 28, 32),
}
BACKDROPS: dict[str, tuple[int, int, int]] = {
    "ivory": (245, 240, 220),
    "sky": (170, 212, 240),
    "mint": (185, 230, 200),
    "lilac": (212, 196, 236),
    "peach": (250, 212, 182),
    "sand": (214, 196, 152),
    "navy": (32, 44, 92),
    "charcoal": (62, 64, 72),
    "forest": (30, 78, 56),
    "maroon": (98, 32, 46),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "hexagon", "crescent", "heart", "diamond")
TEXTURES = ("plain", "striped", "dotted", "checked", "shaded", "outlined")
SIZES: dict[str, tuple[float, float]] = {"small": (0.09, 0.12), "medium": (0.15, 0.19), "large": (0.23, 0.29)}
POSITIONS: dict[str, tuple[float, float]] = {
    "top left": (0.22, 0.22),
    "top": (0.5, 0.2),
    "top right": (0.78, 0.22),
    "left": (0.2, 0.5),
    "center": (0.5, 0.5),
    "right": (0.8, 0.5),
    "bottom left": (0.22, 0.78),
    "bottom": (0.5, 0.8),
    "bottom right": (0.78, 0.78),
}
BACKGROUND_KINDS = (
    "plain",
    "vertical gradient",
    "horizontal gradient",
    "radial gradient",
    "vertical stripes",
    "horizontal stripes",
    "diagonal stripes",
    "checks",
    "clouds",
)
FONTS = ("sans", "bold", "serif", "mono")
ROWS: dict[str, float] = {"top": 0.17, "center": 0.5, "bottom": 0.83}
GLYPHS = "ABCDEFGHJKLMNPRSTUVWXYZ23456789"
# fmt: off
WORDS = (
    "SUN", "CAT", "DOG", "SKY", "RED", "MAP", "JOY", "ICE", "FOX", "OWL", "BEE", "KEY", "TOP", "BOX",
    "ZEN", "ART", "EGG", "HAT", "INK", "JAM", "MOON", "STAR", "TREE", "FISH", "BIRD", "LEAF", "WIND",
    "FIRE", "SNOW", "RAIN", "GOLD", "BLUE", "WAVE", "ROAD", "LAMP", "KITE", "JAZZ", "QUIZ", "VASE",
    "DUCK", "HOUSE", "CLOUD", "RIVER", "PLANT", "STONE", "LIGHT", "MUSIC", "BREAD", "HORSE", "TIGER",
    "OCEAN", "PIANO", "ZEBRA", "MAGIC", "QUEEN",
)
# fmt: on

"""The node types that the workflows use: sockets, widgets and the room they take on the canvas, in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """What the browser knows of a node type.

    Attributes:
        sockets: Inputs that take a link only, with their types.
        outputs: Names with their types.
        height: Room below the title, without what a node shows after it ran.
    """

    sockets: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    height: int


MODEL, CLIP, VAE = ("model", "MODEL"), ("clip", "CLIP"), ("vae", "VAE")
POSITIVE, NEGATIVE = ("positive", "CONDITIONING"), ("negative", "CONDITIONING")
LATENT, SAMPLES, IMAGES = ("latent_image", "LATENT"), ("samples", "LATENT"), ("images", "IMAGE")


def _given(*types: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, name) for name in types)


def _patch(height: int) -> NodeType:
    return NodeType(sockets=(MODEL,), outputs=_given("MODEL"), height=height)


TYPES: Mapping[str, NodeType] = {
    "UNETLoader": NodeType(outputs=_given("MODEL"), height=82),
    "CheckpointLoaderSimple": NodeType(outputs=_given("MODEL", "CLIP", "VAE"), height=98),
    "DualCLIPLoader": NodeType(outputs=_given("CLIP"), height=130),
    "CLIPLoader": NodeType(outputs=_given("CLIP"), height=106),
    "VAELoader": NodeType(outputs=_given("VAE"), height=58),
    "CLIPTextEncode": NodeType(sockets=(CLIP,), outputs=_given("CONDITIONING"), height=130),
    "FluxGuidance": NodeType(
        sockets=(("conditioning", "CONDITIONING"),), outputs=_given("CONDITIONING"), height=58
    ),
    "ConditioningCombine": NodeType(
        sockets=(("conditioning_1", "CONDITIONING"), ("conditioning_2", "CONDITIONING")),
        outputs=_given("CONDITIONING"),
        height=46,
    ),
    "EmptySD3LatentImage": NodeType(outputs=_given("LATENT"), height=106),
    "EmptyLatentImage": NodeType(outputs=_given("LATENT"), height=106),
    "PrimitiveInt": NodeType(outputs=_given("INT"), height=82),
    # With room for what the cache says of the run, below the widgets.
    "KSampler": NodeType(sockets=(MODEL, POSITIVE, NEGATIVE, LATENT), outputs=_given("LATENT"), height=350),
    "VAEDecode": NodeType(sockets=(SAMPLES, VAE), outputs=_given("IMAGE"), height=46),
    "SaveImage": NodeType(sockets=(IMAGES,), outputs=(IMAGES,), height=460),
    "FeatureCache": _patch(298),
    "TeaCacheThreshold": _patch(274),
    "L2CRouterLoader": _patch(226),
    "ErrorOptimizer": _patch(202),
    "FeatureCacheReport": NodeType(
        sockets=(MODEL, SAMPLES), outputs=(("picture", "IMAGE"), ("report", "STRING")), height=800
    ),
    "FeatureCacheCalibrate": NodeType(
        sockets=(MODEL, POSITIVE, NEGATIVE, LATENT),
        outputs=(("artefact", "STRING"), ("plot", "IMAGE"), ("findings", "STRING")),
        height=900,
    ),
    "CacheScheduleSearch": NodeType(
        sockets=(MODEL, POSITIVE, NEGATIVE, LATENT, VAE),
        outputs=(("artefact", "STRING"), ("plot", "IMAGE"), ("findings", "STRING")),
        height=1000,
    ),
    "CacheRouterTrainer": NodeType(
        sockets=(MODEL, POSITIVE, NEGATIVE, LATENT, ("clean_images", "LATENT")),
        outputs=(("artefact", "STRING"), ("plot", "IMAGE"), ("findings", "STRING")),
        height=1000,
    ),
    "MarkdownNote": NodeType(height=620),
}

TRAINER = "CacheRouterTrainer"

MAKERS = {"FeatureCacheCalibrate", "CacheScheduleSearch", TRAINER}
"""Nodes that make an artefact: while the user waits, and the trainer in hours."""

CACHES = {"FeatureCache", "TeaCacheThreshold", "L2CRouterLoader", "ErrorOptimizer"}
"""Nodes that can name an artefact."""

TEXTS = {"text", "filename_prefix", "made_for", "file_name", "correction.steps", "method.steps"}
"""Widgets with free text; other texts are choices."""

DYNAMIC = {"method", "indicator", "threshold", "correction", "what"}
"""Choices that bring further widgets with them."""

WITHOUT_INPUT = {"control_after_generate"}
"""Widgets of the browser's own, which no input belongs to."""


def widget_type(name: str, value: str | int | float) -> str:
    """Return the type of the input that belongs to a widget."""
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, str):
        return "STRING" if name in TEXTS else "COMFY_DYNAMICCOMBO_V3" if name in DYNAMIC else "COMBO"
    return "FLOAT" if isinstance(value, float) else "INT"

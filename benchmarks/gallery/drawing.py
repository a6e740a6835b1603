"""The parts that workflows have in common: sampling with a report, the calibration that is done once, the note."""

from __future__ import annotations

from collections.abc import Mapping

from . import caches
from .families import CALIBRATION_PROMPTS, PROMPTS, Family, Parts
from .graph import Graph, Node, Output, Widget

FIRST = "First, once"
"""Title of the frame around what makes the file."""

CACHES, SAMPLERS, PICTURES, REPORTS = 820, 1220, 1560, 2020
"""Left edges of the columns."""


def sample(graph: Graph, family: Family, parts: Parts, model: Output, name: str, **links: Output) -> Node:
    """Add a sampler and the decoder, below each other, and return the sampler.

    Args:
        graph: Grows.
        family: Gives the settings.
        parts: From `Family.begin`.
        model: What is sampled.
        name: Title of the sampler.
        links: Further links, such as a seed that samplers share.
    """
    seed: dict[str, Widget] = {"seed": 1, "control_after_generate": "fixed"}
    return graph.add(
        "KSampler",
        seed | family.settings,
        title=name,
        model=model,
        positive=parts.positive,
        negative=parts.negative,
        latent_image=parts.latent,
        **links,
    )


def one_picture(graph: Graph, family: Family, parts: Parts, model: Output) -> None:
    """Add sampler, decoder, picture and report."""
    graph.column(SAMPLERS, 300)
    samples = sample(graph, family, parts, model, "KSampler")[0]
    decoded = graph.add("VAEDecode", samples=samples, vae=parts.vae)[0]
    graph.column(PICTURES, 420)
    graph.add("SaveImage", {"filename_prefix": "FeatureCache"}, images=decoded)
    graph.column(REPORTS, 720)
    graph.add("FeatureCacheReport", model=model, samples=samples)


def side_by_side(
    graph: Graph, family: Family, parts: Parts, models: Mapping[str, Output], seed: Output
) -> None:
    """Add sampler, decoder and picture for each model, the pictures in a row; below them the caches' reports."""
    graph.column(SAMPLERS, 300)
    samples = {
        name: sample(graph, family, parts, model, name, seed=seed)[0] for name, model in models.items()
    }
    decoded = {
        name: graph.add("VAEDecode", title=f"Decode: {name}", samples=latent, vae=parts.vae)[0]
        for name, latent in samples.items()
    }
    for number, name in enumerate(models):
        graph.column(PICTURES + 500 * number, 460)
        prefix = f"FeatureCache_{name.lower()}"
        graph.add("SaveImage", {"filename_prefix": prefix}, title=name, height=560, images=decoded[name])
        if models[name] != parts.model:
            graph.add("FeatureCacheReport", height=640, model=models[name], samples=samples[name])


def calibration(graph: Graph, family: Family, parts: Parts, what: str, file_name: str) -> None:
    """Add, muted and in a frame of its own, the prompts and the calibration that make the file `file_name`."""
    first_once(
        graph, family, parts, "FeatureCacheCalibrate", caches.calibrate(what, family.settings, file_name)
    )


def first_once(
    graph: Graph, family: Family, parts: Parts, maker: str, widgets: caches.Widgets, **links: Output
) -> None:
    """Add, muted and in a frame of its own, the prompts and the node `maker`, which makes a file of them."""
    top, begin = graph.below(PROMPTS, REPORTS), len(graph.nodes)
    graph.column(PROMPTS, 420, top)
    prompts = [
        graph.add("CLIPTextEncode", {"text": text}, muted=True, height=100, clip=parts.clip)[0]
        for text in CALIBRATION_PROMPTS
    ]
    together = prompts[0]
    graph.column(CACHES, 260, top)
    for prompt in prompts[1:]:
        both = {"conditioning_1": together, "conditioning_2": prompt}
        together = graph.add("ConditioningCombine", muted=True, **both)[0]
    together = family.guide(graph, together, muted=True)
    graph.column(CACHES + 300, 700, top)
    graph.add(
        maker,
        widgets,
        muted=True,
        model=parts.model,
        positive=together,
        negative=parts.negative,
        latent_image=parts.latent,
        **links,
    )
    graph.group(FIRST, graph.nodes[begin:])


def note(graph: Graph, text: str) -> None:
    """Add the note at the left."""
    graph.column(-520, 480)
    # The browser fits some 78 letters to a line, and a line to 14 pixels.
    lines = sum(1 + len(line) // 72 for line in text.splitlines())
    graph.add("MarkdownNote", {"text": text}, title="What to expect", height=90 + 15 * lines)

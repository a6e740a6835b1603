"""On trained models, graph by graph: interval 2 in the middle half of the run stays at 30 dB or above.

The pictures are the zoo's, drawn with the sampler `euler`; test_quality.py has the other samplers on the plainest graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import pytest
import real
import torch
from cells.base import guided, ksampler
from cells.nearness import NEAR
from stock import stock
from zoo import sampling

GROUP = "quality on the zoo, graph by graph"
LEFT, RIGHT = (
    "a large red circle on the left, plain white background",
    "a small blue square on the right, plain white background",
)
Graph = Callable[[Any, dict[str, Any]], torch.Tensor]


def _line(name: str, **settings: Any) -> Graph:
    """Return the plain graph with a stock node on the MODEL's line, behind ours."""
    return lambda model, inputs: ksampler(stock(name, model=model, **settings)[0], **inputs)


def _image_to_image(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    return ksampler(model, **inputs | {"denoise": 0.6, "latent_image": _started(inputs)})


def _inpainted(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The right half anew, along a soft edge, as differential diffusion takes it."""
    size = 8 * inputs["latent_image"]["samples"].shape[-1]
    mask = torch.linspace(-1.0, 2.0, size).clamp(0.0, 1.0).expand(1, size, size)
    line = stock("DifferentialDiffusion", model=model, strength=1.0)[0]
    return ksampler(line, **inputs | {"latent_image": _started(inputs) | {"noise_mask": mask}})


def _started(inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return a latent that is no noise: blots as large as the zoo's things."""
    zeros = inputs["latent_image"]["samples"]
    coarse = torch.randn(*zeros.shape[:2], 3, 3, generator=torch.Generator().manual_seed(7))
    return {"samples": torch.nn.functional.interpolate(coarse, zeros.shape[-2:], mode="bilinear")}


def _two_halves(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    shared = {name: value for name, value in inputs.items() if name != "latent_image"} | {
        "model": model,
        "noise_seed": 1,
        "cfg": 4.0,
        "sampler_name": "euler",
        "scheduler": "simple",
    }
    first = {
        "add_noise": "enable",
        "start_at_step": 0,
        "end_at_step": 10,
        "return_with_leftover_noise": "enable",
    }
    second = {
        "add_noise": "disable",
        "start_at_step": 10,
        "end_at_step": 20,
        "return_with_leftover_noise": "disable",
    }
    with torch.inference_mode():
        half = stock("KSamplerAdvanced", latent_image=inputs["latent_image"], **shared, **first)[0]
        whole: torch.Tensor = stock("KSamplerAdvanced", latent_image=half, **shared, **second)[0]["samples"]
    return whole


def _halves(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """A prompt for each half of the picture, by masks."""
    size = 8 * inputs["latent_image"]["samples"].shape[-1]
    mask = (torch.arange(size) < size // 2).float().expand(1, size, size)
    masked = [
        stock(
            "ConditioningSetMask",
            conditioning=sampling.condition([caption]),
            mask=part,
            strength=1.0,
            set_cond_area="default",
        )[0]
        for caption, part in ((LEFT, mask), (RIGHT, 1 - mask))
    ]
    return ksampler(model, **inputs | {"positive": [entry for part in masked for entry in part]})


def _one_after_the_other(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """One prompt begins, another takes over while features are reused."""
    early, late = (
        stock(
            "ConditioningSetTimestepRange", conditioning=sampling.condition([caption]), start=start, end=end
        )[0]
        for caption, start, end in ((LEFT, 0.0, 0.5), (RIGHT, 0.5, 1.0))
    )
    return ksampler(model, **inputs | {"positive": [*early, *late]})


def _guided(model: Any, inputs: dict[str, Any], guider: str, **settings: Any) -> torch.Tensor:
    return guided(model, guider, steps=20, **settings)


def _batch(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    zeros = inputs["latent_image"]["samples"]
    return ksampler(model, **inputs | {"latent_image": {"samples": zeros.repeat(4, 1, 1, 1)}})


def _two_prompts() -> dict[str, Any]:
    return {
        "cond1": sampling.condition([LEFT]),
        "cond2": sampling.condition([RIGHT]),
        "negative": sampling.condition([""]),
        "cfg_conds": 4.0,
        "cfg_cond2_negative": 2.0,
        "style": "regular",
    }


GRAPHS: dict[str, Graph] = {
    "cfg 1": lambda model, inputs: ksampler(model, **inputs | {"cfg": 1.0}),
    "batch of 4": _batch,
    "denoise 0.6": _image_to_image,
    "two halves": _two_halves,
    "masks": _halves,
    "timestep ranges": _one_after_the_other,
    "inpaint with differential diffusion": _inpainted,
    "DualCFGGuider": lambda model, inputs: _guided(model, inputs, "DualCFGGuider", **_two_prompts()),
    "SkipLayerGuidanceDiT": _line(
        "SkipLayerGuidanceDiT",
        double_layers="1",
        single_layers="1",
        scale=1.0,
        start_percent=0.1,
        end_percent=0.6,
        rescaling_scale=0.0,
    ),
    "RescaleCFG": _line("RescaleCFG", multiplier=0.7),
    "APG": _line("APG", eta=1.0, norm_threshold=5.0, momentum=0.3),
}
ALWAYS = ("timestep ranges",)
WITHOUT_LAYERS = {"pixart": {"SkipLayerGuidanceDiT"}}
"""Nodes that change nothing in a family's blocks."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its graphs: in the core one, with --matrix all; and every model of the zoo."""
    if {"model", "graph"} <= set(metafunc.fixturenames):
        graphs = GRAPHS if metafunc.config.getoption("--matrix") else ALWAYS
        pairs = [(m, g) for m in sampling.MODELS for g in graphs if g not in WITHOUT_LAYERS.get(m, ())]
        metafunc.parametrize(("model", "graph"), pairs)


@pytest.fixture(scope="module")
def pipelines() -> Iterator[Callable[[str], sampling.Pipeline]]:
    """Return a function that loads a model of the zoo once; all are let go with the host still there."""
    load = cache(sampling.load_pipeline)
    yield load
    load.cache_clear()


def test_a_cached_picture_is_near_the_uncached_one(
    host: real.Host,
    attach: Callable[..., Any],
    last: Callable[[Any], Any],
    pipelines: Callable[[str], sampling.Pipeline],
    model: str,
    graph: str,
) -> None:
    checkpoint = sampling.RECIPES[model].checkpoint
    if not checkpoint.is_file():
        pytest.skip(f"the zoo has no {checkpoint.name}")
    pipeline = pipelines(model)
    side = pipeline.size // 8
    inputs = {
        "steps": 20,
        "positive": sampling.condition([LEFT]),
        "negative": sampling.condition([""]),
        "latent_image": {"samples": torch.zeros(1, pipeline.channels, side, side)},
    }
    cached = attach(pipeline.model, 0.25, 0.75, interval=2)
    draw = partial(sampling.decode, pipeline)
    pictures, reference = draw(GRAPHS[graph](cached, inputs)), draw(GRAPHS[graph](pipeline.model, inputs))
    errors = ((pictures - reference) ** 2).mean((1, 2, 3))
    near = float((-10 * errors.log10()).mean())
    assert last(cached).num_reused > 0
    assert near >= NEAR[model], f"{near:.1f} dB"

"""On trained models: interval 2 in the middle half of the run stays near the uncached picture, or the sampler is in the table.

The pictures are the zoo's; PSNR is of decoded pictures in [0, 1], the mean over the captions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import real
import torch
from cells.nearness import NEAR
from cells.sampling import SAMPLERS
from zoo import sampling

GROUP = "quality on the zoo"
CAPTIONS = (
    "a large red circle on the left, a small blue square on the right, plain white background",
    "two green stars above a yellow hexagon, striped blue background",
)
ALWAYS = ("euler", "euler_ancestral")
ALIASES = {"ddim": "euler", "uni_pc": "unipc", "uni_pc_bh2": "unipc_bh2"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its samplers: in the core two, with --matrix all; and every model of the zoo."""
    if {"model", "sampler"} <= set(metafunc.fixturenames):
        samplers: Sequence[str] = SAMPLERS if metafunc.config.getoption("--matrix") else ALWAYS
        pairs = [(model, sampler) for model in sampling.MODELS for sampler in samplers]
        metafunc.parametrize(("model", "sampler"), pairs)


@pytest.fixture(scope="module")
def pipelines() -> Iterator[Callable[[str], sampling.Pipeline]]:
    """Return a function that loads a model of the zoo once; all are let go with the host still there."""
    load = cache(sampling.load_pipeline)
    yield load
    load.cache_clear()


def _pictures(pipeline: sampling.Pipeline, sampler: str) -> torch.Tensor:
    # What the samplers of this kind are made for; at 4 one step fewer already gives another picture.
    cfg = 1.5 if sampler.endswith("cfg_pp") else 4.0
    requests = [
        sampling.Request(caption=caption, seed=seed, sampler=sampler, cfg=cfg)
        for seed, caption in enumerate(CAPTIONS)
    ]
    return sampling.decode(pipeline, sampling.sample_latents(pipeline, requests))


def _psnr(pictures: torch.Tensor, reference: torch.Tensor) -> float:
    errors = ((pictures - reference) ** 2).mean((1, 2, 3))
    return float((-10 * errors.log10()).mean())


def test_a_cached_picture_is_near_the_uncached_one(
    host: real.Host,
    attach: Callable[..., Any],
    last: Callable[[Any], Any],
    pipelines: Callable[[str], sampling.Pipeline],
    record_property: Callable[[str, object], None],
    model: str,
    sampler: str,
) -> None:
    import comfy.samplers

    if sampler not in comfy.samplers.SAMPLER_NAMES:
        pytest.skip(f"this ComfyUI has no sampler '{sampler}'")
    checkpoint = sampling.RECIPES[model].checkpoint
    if not checkpoint.is_file():
        pytest.skip(f"the zoo has no {checkpoint.name}")
    pipeline = pipelines(model)
    cached = replace(pipeline, model=attach(pipeline.model, 0.25, 0.75, interval=2))
    near = _psnr(_pictures(cached, sampler), _pictures(pipeline, sampler))
    record_property("psnr", [model, sampler, round(near, 1)])
    assert last(cached.model).num_reused > 0
    table = host.module("nodes.samplers")
    drifts = ALIASES.get(sampler, sampler) in table.FRESH_NOISE | table.AMPLIFYING
    assert near >= NEAR[model] or drifts, (
        f"{near:.1f} dB, and the sampler is not in the table of those that drift"
    )

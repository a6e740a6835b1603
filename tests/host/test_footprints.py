"""The stand-ins from which the docs' memory figures come have what the host's own classes have at the published sizes."""

from __future__ import annotations

from typing import Any

import footprints
import pytest
import real
import torch

import cache_core

SIZES = {"patch_size": 2, "hidden_size": 3072, "num_heads": 24, "depth": 19, "depth_single_blocks": 38}


def _flux(operations: Any) -> torch.nn.Module:
    import comfy.ldm.flux.model as flux

    config = real.FLUX_CONFIG | SIZES | {"context_in_dim": 4096, "vec_in_dim": 768}
    return flux.Flux(**config, device="meta", dtype=torch.bfloat16, operations=operations)


def _sd3(operations: Any) -> torch.nn.Module:
    import comfy.ldm.modules.diffusionmodules.mmdit as mmdit

    context = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 2432}}
    return mmdit.OpenAISignatureMMDITWrapper(
        in_channels=16,
        depth=38,
        input_size=None,
        adm_in_channels=2048,
        context_embedder_config=context,
        qk_norm="rms",
        num_patches=36864,
        pos_embed_max_size=192,
        device="meta",
        dtype=torch.bfloat16,
        operations=operations,
    )


def _pixart(operations: Any) -> torch.nn.Module:
    import comfy.ldm.pixart.pixartms as pixart

    config = {"hidden_size": 1152, "num_heads": 16, "depth": 28, "caption_channels": 4096, "in_channels": 4}
    return pixart.PixArtMS(
        **config,
        patch_size=2,
        model_max_length=300,
        micro_condition=False,
        device="meta",
        dtype=torch.bfloat16,
        operations=operations,
    )


@pytest.mark.parametrize(
    ("published", "build"),
    [(footprints.FLUX, _flux), (footprints.SD3, _sd3), (footprints.PIXART, _pixart)],
    ids=lambda given: getattr(given, "title", ""),
)
def test_a_stand_in_has_the_networks_sites_and_sizes(
    host: real.Host, published: footprints.Published, build: Any
) -> None:
    import comfy.ops

    network = build(comfy.ops.disable_weight_init)
    adapter = cache_core.find_adapter(network)(network)
    stand_in = published.stand_in(cache_core)
    for level in cache_core.Level:
        assert stand_in.sites(level) == adapter.sites(level)
    assert (stand_in.width, stand_in.patch_size) == (adapter.width, adapter.patch_size)

"""A network that lacks anything an adapter uses is refused when the node is applied, not while it samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import real
import torch

USED = {
    "flux": [
        *(f"double_blocks.1.{half}_{part}" for half in ("img", "txt") for part in ("mod", "mlp", "norm2")),
        "double_blocks.0.img_norm1",
        "double_blocks.1.img_attn.proj",
        "double_blocks.1.txt_attn.proj",
        "single_blocks.2.linear2",
        "single_blocks.2.modulation",
        "time_in",
    ],
    "sd3": [
        *(f"joint_blocks.0.{half}.adaLN_modulation" for half in ("context_block", "x_block")),
        *(f"joint_blocks.0.{half}.attn.proj" for half in ("context_block", "x_block")),
        *(
            f"joint_blocks.0.{half}.{part}"
            for half in ("context_block", "x_block")
            for part in ("norm2", "mlp")
        ),
        "joint_blocks.0.x_block.attn2",
        "joint_blocks.0.x_block.norm1",
        "joint_blocks.1.context_block",
        "t_embedder",
    ],
    "pixart": [
        *(f"blocks.2.{part}" for part in ("attn", "cross_attn", "mlp", "norm1", "scale_shift_table")),
        "t_embedder",
    ],
}
MODELS: dict[str, Callable[[], Any]] = {
    "flux": real.random_flux,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}


@pytest.mark.parametrize(
    ("family", "part"), [(family, part) for family, parts in USED.items() for part in parts]
)
def test_a_network_without_a_part_that_is_used_is_refused(
    host: real.Host, cached: Callable[..., Any], family: str, part: str
) -> None:
    model = MODELS[family]()
    owner, _, name = part.rpartition(".")
    delattr(real.network_of(model).get_submodule(owner), name)
    with pytest.raises(ValueError, match=rf"{name}.*remove the cache node"):
        cached(model)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("level", ["module", "block", "stack", "model"])
def test_subclasses_all_the_way_down_are_cached_like_their_bases(
    host: real.Host, cached: Callable[..., Any], family: str, level: str
) -> None:
    """As a pack derives them that changes a network: every block, and the network, of a class of its own."""
    model = MODELS[family]()
    expected = real.sample(cached(model, level=level), steps=4)
    network = real.network_of(model)
    blocks = [
        block
        for name in ("double_blocks", "single_blocks", "joint_blocks", "blocks")
        for block in getattr(network, name, ())
    ]
    for module in (network, *blocks):
        module.__class__ = type(f"Derived{type(module).__name__}", (type(module),), {})
    assert torch.equal(real.sample(cached(model, level=level), steps=4), expected)

"""PixArt-alpha and PixArt-sigma: blocks of attention, cross-attention and MLP over image tokens.

Shapes: B batch, N image tokens, D width; a block's `x` is (B, N, D). All three branches are plain sub-modules, so no
replay is needed. The cross-attention is added without a gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ..adapter import ADAPTERS, Adapter, Router, leaf, missing_parts
from ..scope import ForwardPatch
from ..streams import Stack, Streams, residual_patch
from ..types import Level, Site

PATH = "blocks"
PARTS = ("attn", "cross_attn", "mlp")
STREAMS = Streams(names=("x",), image="x")
STACK_SITE = Site(level=Level.STACK, path=PATH, index=0, part="residual")


@ADAPTERS.register
class PixArtAdapter(Adapter):
    """Features of `comfy.ldm.pixart.pixartms.PixArtMS`."""

    name = "pixart"
    classes = ("comfy.ldm.pixart.pixartms.PixArtMS",)

    @classmethod
    def check(cls, network: nn.Module) -> list[str]:
        """Return what the network's blocks lack."""
        if not isinstance(getattr(network, PATH, None), nn.ModuleList):
            return [f"it has no list '{PATH}'"]
        found = (
            missing_parts(block, f"{PATH}.{index}", PARTS, ("x", "t")) for index, block in _blocks(network)
        )
        return [fault for faults in found for fault in faults]

    def block_sites(self, level: Level) -> tuple[Site, ...]:
        """Return the sites of a level in the order they run."""
        if level is Level.STACK:
            return (STACK_SITE,)
        return tuple(site for index, _ in _blocks(self.network) for site in _sites(level, index))

    def block_patches(self, level: Level, router: Router) -> Iterator[ForwardPatch]:
        """Return the forward replacements that route one pass at `level` through `router`."""
        blocks = list(_blocks(self.network))
        stack = Stack(STACK_SITE, router)
        for index, block in blocks:
            sites = _sites(level, index)
            if level is Level.STACK:
                yield stack.patch(block, STREAMS, first=index == 0, last=index == len(blocks) - 1)
            elif level is Level.BLOCK:
                yield residual_patch(block, sites[0], router, STREAMS)
            else:
                yield from (leaf(getattr(block, site.part), site, router) for site in sites)


def _blocks(network: nn.Module) -> Iterator[tuple[int, Any]]:
    yield from enumerate(network.get_submodule(PATH).children())


def _sites(level: Level, index: int) -> tuple[Site, ...]:
    parts = PARTS if level is Level.MODULE else ("residual",)
    return tuple(Site(level=level, path=PATH, index=index, part=part) for part in parts)

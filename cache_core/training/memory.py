"""What a training will take, foreseen from shapes before its first call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..adapter import Adapter
from ..blocks import BlockAdapter
from ..footprint import Extent
from ..types import Level, Site

KEPT = 24
"""Tensors as large as a block's streams that one block keeps for its backward pass: what norms, gates, the embedding of places,
attention and activations work on, and both features of every mixture. Counted on PixArt, which keeps most, and rounded up."""

WORKING = 36
"""The same of the block whose backward pass is under way, with the gradients that it hands around. Attention that keeps its
scores, which ComfyUI has on the CPU only, takes more on large pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a training holds besides the features of its sites.

    Attributes:
        outputs: How many tensors as large as what all blocks return.
        carrying: Largest share of the blocks that carry gradients in one evaluation.
    """

    outputs: float = 0.0
    carrying: float = 1.0


def needed_bytes(
    adapter: Adapter, level: Level, extents: Sequence[Extent], holdings: Holdings, *, recompute: bool
) -> int:
    """Return the bytes that a training takes beside the weights.

    Features are held twice: as they are kept and as they come in. Every block keeps its input; its other activations
    are kept for all blocks that carry gradients, or where they are computed again for one at a time.

    Args:
        adapter: Of the network.
        level: Level of the trained sites.
        extents: How large the input of each branch is.
        holdings: What the training holds besides.
        recompute: Whether the backward pass runs every block again.
    """
    blocks = adapter.blocks if isinstance(adapter, BlockAdapter) else ()
    features = sum(_bytes(adapter, site, extent) for site in adapter.sites(level) for extent in extents)
    streams = [
        sum(_bytes(adapter, block.site(Level.BLOCK, "residual"), extent) for extent in extents)
        for block in blocks
    ]
    largest, total = max(streams, default=0), sum(streams)
    kept = 0.0 if recompute else KEPT * max(holdings.carrying * total - largest, 0.0)
    return round(2 * features + (1 + holdings.outputs) * total + WORKING * largest + kept)


def _bytes(adapter: Adapter, site: Site, extent: Extent) -> int:
    image = sum(math.prod(adapter.grid(shape)) for shape in (extent.latent, *extent.references))
    tokens = adapter.num_tokens(site, image, extent.text)
    return extent.latent[0] * tokens * adapter.width * extent.dtype.itemsize

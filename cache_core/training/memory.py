"""What a training will take, foreseen from shapes before its first call."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..adapter import Adapter
from ..blocks import BlockAdapter
from ..footprint import Extent
from ..types import Level, Site

ACTIVATIONS = 24
"""Tensors as large as a block's streams that one block keeps for its backward pass: norms, queries, keys and values before and
after the embedding of places, the attention's output, and the MLP's four times wider layers; counted on Flux and rounded up."""


def needed_bytes(adapter: Adapter, level: Level, extents: Sequence[Extent], *, recompute: bool) -> int:
    """Return the bytes that a training takes beside the weights.

    Features are held twice: as they are kept and as they come in. Every block keeps its input; its other activations
    are kept for all blocks, or where they are computed again for one at a time.

    Args:
        adapter: Of the network.
        level: Level of the trained sites.
        extents: How large the input of each branch is.
        recompute: Whether the backward pass runs every block again.
    """
    blocks = adapter.blocks if isinstance(adapter, BlockAdapter) else ()
    features = sum(_bytes(adapter, site, extent) for site in adapter.sites(level) for extent in extents)
    inputs = [
        sum(_bytes(adapter, block.site(Level.BLOCK, "residual"), extent) for extent in extents)
        for block in blocks
    ]
    working = max(inputs, default=0) if recompute else sum(inputs)
    return 2 * features + sum(inputs) + ACTIVATIONS * working


def _bytes(adapter: Adapter, site: Site, extent: Extent) -> int:
    image = sum(math.prod(adapter.grid(shape)) for shape in (extent.latent, *extent.references))
    tokens = adapter.num_tokens(site, image, extent.text)
    return extent.latent[0] * tokens * adapter.width * extent.dtype.itemsize

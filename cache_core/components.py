"""What a site computes, in the words that published files use: attention, cross-attention, MLP."""

from __future__ import annotations

from collections.abc import Iterable

from .types import Site

ATTENTION, CROSS, MLP = "attn", "cross_attn", "mlp"


def components_of(site: Site) -> frozenset[str]:
    """Return the components that a MODULE site is made of; Flux's fused single branch has two."""
    if site.part == CROSS:
        return frozenset({CROSS})
    return frozenset(name for name in (ATTENTION, MLP) if name in site.part)


def block_numbers(sites: Iterable[Site]) -> dict[tuple[str, int], int]:
    """Return the number of every block within the network, counted over all lists of blocks in running order."""
    blocks = dict.fromkeys((site.path, site.index) for site in sites)
    return {block: number for number, block in enumerate(blocks)}

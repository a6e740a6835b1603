"""What a run will hold, foreseen from shapes before its first call."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .adapter import Adapter
from .policy import Policy
from .residence import Residence
from .store import NUM_AHEAD
from .transfer import NUM_STAGES
from .types import Level, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How large the input of one branch is.

    Attributes:
        latent: Shape of the latent, (B, C, H, W).
        references: Shapes of further latents whose tokens join the picture's, such as those of reference images.
        text: Text tokens, M.
        dtype: Type in which the network computes.
    """

    latent: tuple[int, ...]
    references: tuple[tuple[int, ...], ...] = ()
    text: int = 0
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a run is expected to hold.

    Attributes:
        num_lanes: Branches whose features are held.
        wanted_bytes: Bytes of all features of all branches.
        held_bytes: Bytes of those that the budget allows, wherever they are held.
        device_bytes: Bytes of the computing device that the cache takes up.
        least_bytes: A budget below this holds nothing: the first site of each branch.
    """

    num_lanes: int = 1
    wanted_bytes: int = 0
    held_bytes: int = 0
    device_bytes: int = 0
    least_bytes: int = 0


def foresee(
    adapter: Adapter,
    policy: Policy,
    residence: Residence,
    branches: Iterable[Extent],
    computing: torch.device,
) -> Footprint:
    """Return what a run of `policy` will hold for `branches`, each of which sees its whole extent all the time.

    A site's feature has as many tokens as the adapter says, each as wide as the network. Padding, registers and
    other tokens of the host's own are not known here, an area or a context window sees less than the whole: the
    figure is a few percent from what is held in ordinary graphs, and too high in those.
    """
    sites = adapter.sites(policy.level)
    sizes = [
        [policy.memory * _num_bytes(adapter, site, extent, residence) for site in sites]
        for extent in branches
    ]
    wanted = sum(map(sum, sizes))
    held = wanted if residence.budget is None else min(wanted, residence.budget)
    # Away from the computing device, it has what is on its way out and back, in memory of its own for each size.
    on_the_way = (NUM_STAGES + NUM_AHEAD + 1) * sum({size for row in sizes for size in row})
    away = residence.device_for(computing) != computing
    return Footprint(
        num_lanes=max(len(sizes), 1),
        wanted_bytes=wanted,
        held_bytes=held,
        device_bytes=min(held, on_the_way) if away else held,
        least_bytes=len(sizes) * max((row[0] for row in sizes), default=0),
    )


def _num_bytes(adapter: Adapter, site: Site, extent: Extent, residence: Residence) -> int:
    """Return the bytes that one feature of `site` takes up for one branch."""
    if site.level is Level.MODEL:
        return residence.num_bytes(extent.latent, extent.dtype)
    image = sum(math.prod(adapter.grid(shape)) for shape in (extent.latent, *extent.references))
    tokens = adapter.num_tokens(site, image, extent.text)
    return residence.num_bytes((extent.latent[0], tokens, adapter.width), extent.dtype)

"""Block Caching's adjustment of a reused residual C: C * (1 + gamma) + beta, per channel, made from the noise level.

Wimbauer et al. 2023, "Cache Me if You Can" (CVPR 2024, arXiv:2312.03209), section 3.3. How it is trained: `scale_shift`.
Shapes: D channels of a stream.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..types import Feature, Site

NUM_FREQUENCIES = 128
MAX_PERIOD = 10_000.0


class Adjustment(nn.Module):
    """Gamma and beta (D,) of every adjusted stream, by linear layers from the embedded noise level."""

    def __init__(self, streams: Sequence[str], width: int) -> None:
        """Begin with gamma = beta = 0 for `streams`, named `site.stream`."""
        super().__init__()
        self.index = {stream: number for number, stream in enumerate(streams)}
        self.layers = nn.ModuleList(nn.Linear(2 * NUM_FREQUENCIES, 2 * width) for _ in streams)
        for layer in self.layers:
            nn.init.zeros_(cast(nn.Linear, layer).weight)
            nn.init.zeros_(cast(nn.Linear, layer).bias)

    def forward(self, sigma: float) -> dict[str, tuple[Tensor, Tensor]]:
        """Return (gamma, beta), each (D,), of every stream at a noise level."""
        embedded = embed(sigma).to(cast(Tensor, next(self.parameters())).device)
        made = {stream: self.layers[number](embedded) for stream, number in self.index.items()}
        return {stream: tuple(both.chunk(2)) for stream, both in made.items()}


def embed(sigma: float) -> Tensor:
    """Return sines and cosines (2 * NUM_FREQUENCIES,) of 1000 * sigma, as timesteps are embedded."""
    rates = torch.exp(-math.log(MAX_PERIOD) * torch.arange(NUM_FREQUENCIES) / NUM_FREQUENCIES)
    angles = 1000.0 * sigma * rates
    return torch.cat((angles.cos(), angles.sin()))


class Adjusted:
    """Leaves out the sites of one step of the schedule, and adjusts what takes their place."""

    def __init__(self, reused: frozenset[str], adjustments: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Leave out `reused`, and take gamma and beta from `adjustments`."""
        self._reused, self._adjustments = reused, adjustments

    def is_reused(self, site: Site) -> bool:
        """Return whether the schedule leaves the site out."""
        return str(site) in self._reused

    def stand_in(self, site: Site, kept: Feature) -> Feature:
        """Return kept * (1 + gamma) + beta of every stream."""
        return tuple(self._adjust(f"{site}.{number}", old) for number, old in enumerate(kept))

    def settle(self, site: Site, fresh: Feature, kept: Feature | None) -> Feature:
        """Keep what was computed; of a site to be left out, the older one, adjusted."""
        return fresh if kept is None or not self.is_reused(site) else self.stand_in(site, kept)

    def _adjust(self, stream: str, old: Tensor) -> Tensor:
        gamma, beta = (part.to(old.dtype) for part in self._adjustments[stream])
        return beta + old * (1 + gamma)

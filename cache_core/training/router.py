"""The router that Learning-to-Cache and HarmoniCa train: one score per step and site.

Ma et al. 2024 (arXiv:2406.01733), section 3.2, and horseee/learning-to-cache, `DiT/models/router_models.py`: for every step one vector
of scores, drawn from a normal distribution; sigmoid(score) is the share beta of the fresh feature in the mixture
beta * fresh + (1 - beta) * kept. Scores stay within [-5, 5]. Shapes: T steps, S sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..types import Feature, Site
from .costs import Costs, count_for

BOUND = 5.0
"""Scores are kept within plus and minus this."""

ALWAYS = 1e4
"""Score of the steps that are not trained: computed at any threshold below 1."""


class Router(nn.Module):
    """Trainable scores of some of T steps; the others compute every site."""

    def __init__(self, num_steps: int, num_sites: int, trained: Sequence[int], seed: int) -> None:
        """Draw the scores of the steps `trained`, float32, from a normal distribution."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.num_steps, self.num_sites, self.trained = num_steps, num_sites, tuple(trained)
        # A parameter per step: one that was not asked has no gradient and is left alone, by momentum too.
        self.rows = nn.ParameterDict(
            {str(step): torch.randn(num_sites, generator=generator) for step in self.trained}
        )

    def forward(self, step: int) -> Tensor:
        """Return the shares (S,) of the fresh features in a trained step, float32."""
        return torch.sigmoid(self.rows[str(step)])

    def clamp(self) -> None:
        """Keep every score within its bounds."""
        with torch.no_grad():
            for row in self.rows.values():
                row.clamp_(-BOUND, BOUND)

    def scores(self) -> Tensor:
        """Return the table (T, S) that goes into the artefact, float32 on the CPU."""
        table = torch.full((self.num_steps, self.num_sites), ALWAYS)
        for step in self.trained:
            table[step] = self.rows[str(step)].detach().float().cpu()
        return table

    def computed(self, threshold: float) -> Tensor:
        """Return which sites are computed (T, S), as the cached run will decide it: sigmoid(score) > threshold."""
        return self.scores() > torch.logit(torch.tensor(threshold))

    def refresh_ratio(self, threshold: float) -> float:
        """Return the share of the T * S evaluations that are computed."""
        return float(self.computed(threshold).float().mean())

    def threshold_at(self, ratio: float, costs: Costs) -> float:
        """Return the threshold at which the share of work that is done comes nearest to `ratio`: between two shares."""
        scores = self.scores()
        highest, order = scores.flatten().sort(descending=True, stable=True)
        spent = costs.spent(scores).flatten()[order]
        num_full = (self.num_steps - len(self.trained)) * self.num_sites
        num_computed = max(count_for(ratio * float(spent.double().sum()), spent), num_full)
        shares = [1.0] * num_full + torch.sigmoid(highest[num_full:]).tolist() + [0.0]
        return float((shares[num_computed - 1] + shares[num_computed]) / 2)


class Mixture:
    """Mixes every computed feature with the one that is kept: the differentiable stand-in for a decision."""

    def __init__(self, sites: Sequence[Site], shares: Tensor) -> None:
        """Mix the features of `sites` by `shares` (S,) of the fresh one."""
        self._shares: Mapping[Site, Tensor] = dict(zip(sites, shares, strict=True))

    def is_reused(self, site: Site) -> bool:
        """Leave nothing out: both features are needed."""
        return False

    def stand_in(self, site: Site, kept: Feature) -> Feature:
        """Return a copy of what is kept; never asked for."""
        return tuple(stream.clone() for stream in kept)

    def settle(self, site: Site, fresh: Feature, kept: Feature | None) -> Feature:
        """Return beta * fresh + (1 - beta) * kept, before any gate."""
        if kept is None:
            return fresh
        share = self._shares[site]
        return tuple(
            share.to(new.dtype) * new + (1 - share).to(new.dtype) * old
            for new, old in zip(fresh, kept, strict=True)
        )


class Decided:
    """Computes or leaves out every site, as a cached run of the router does."""

    def __init__(self, sites: Sequence[Site], computed: Tensor) -> None:
        """Compute those of `sites` at which `computed` (S,) is true."""
        self._reused = {site for site, fresh in zip(sites, computed.tolist(), strict=True) if not fresh}

    def is_reused(self, site: Site) -> bool:
        """Return whether the router leaves the site out."""
        return site in self._reused

    def stand_in(self, site: Site, kept: Feature) -> Feature:
        """Return a copy of what is kept."""
        return tuple(stream.clone() for stream in kept)

    def settle(self, site: Site, fresh: Feature, kept: Feature | None) -> Feature:
        """Keep what was computed; of a site to be left out, the older one."""
        return fresh if kept is None or site not in self._reused else self.stand_in(site, kept)

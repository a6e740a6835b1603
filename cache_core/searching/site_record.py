"""What uncached samplings say of reusing each site of a network: the cost of every gap between full steps, site by site.

T steps, B pictures, K numbers of a feature, which stand for all of it.

In a step of Euler the latent moves with the noise by the network's output, so a feature that is j's instead of k's counts by the share of
noise that step k spans. Within a gap these differences are summed up as they are, since they point the same way. What a site's feature
means for the picture is not known here: costs are relative to the feature's own size, and real runs weigh them (`mask_table`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import CacheError
from ..policy import Config
from ..probe import Probe, Sample
from ..types import Feature, Level, Run
from .record import shares_of

SKETCH = 1024
"""Numbers of a feature that are looked at, K: enough for its change to within a few per cent."""


class SiteRecord(Probe):
    """Keeps some numbers of every feature in the first call of every step, and adds up what gaps would have cost."""

    name = "sites"
    title = "what reuse costs each site"
    config_type = Config

    def __init__(self, level: Level, sites: tuple[str, ...], run: Run) -> None:
        """Look at the `sites` of a level in runs such as `run`."""
        super().__init__(Config())
        self._level, self._sites, self._run = level, sites, run
        self._seen: dict[tuple[str, int, int], Tensor] = {}
        self._places: dict[tuple[int, torch.device], Tensor] = {}
        self._total = torch.zeros(len(sites), run.num_steps, run.num_steps + 1, dtype=torch.float64)
        self._num_pictures = 0

    @property
    def level(self) -> Level:
        """Level of the sites."""
        return self._level

    def see(self, sample: Sample) -> None:
        """Keep a sketch of a feature, if it is the first of its site, role and step."""
        key = str(sample.site), sample.lane.role, sample.call.step
        if key not in self._seen:
            self._seen[key] = self._sketch(sample.feature)

    def close_run(self) -> None:
        """Add the costs of a run's gaps.

        Raises:
            CacheError: If a feature was not seen in every step, or is not finite.
        """
        costs = torch.stack([self._costs(site) for site in self._sites])
        if bool(costs.isnan().any()):
            raise CacheError(
                "The uncached sampling met features that are infinite or undefined, so no mask can be worked out. Look at the "
                "pictures that this MODEL makes uncached; try another data type or sampler."
            )
        self._total += costs.sum(1)
        self._num_pictures += costs.shape[1]
        self._seen.clear()

    @property
    def costs(self) -> Tensor:
        """(S, T, T + 1) float64: mean over pictures of what leaving out the steps from one full step to the next costs."""
        return self._total / self._num_pictures

    def _sketch(self, feature: Feature) -> Tensor:
        numbers = torch.cat([stream.flatten(1) for stream in feature], dim=1)
        key = numbers.shape[1], numbers.device
        if key not in self._places:
            chosen = torch.randperm(numbers.shape[1], generator=torch.Generator().manual_seed(0))[:SKETCH]
            self._places[key] = chosen.to(numbers.device)
        return numbers[:, self._places[key]].float()

    def _costs(self, site: str) -> Tensor:
        """Return (B, T, T + 1): what each gap of a site cost in each picture of the run."""
        shares = shares_of(self._run, len({role for name, role, _ in self._seen if name == site}))
        keys = [[(site, role, k) for k in range(self._run.num_steps)] for role in range(len(shares))]
        missing = [key[2] for by_role in keys for key in by_role if key not in self._seen]
        if missing:
            raise CacheError(
                f"'{site}' was not seen in step {missing[0]}: the sampler made no call there, or the branches of the prompt could not be "
                "told apart. Use plain prompts and a sampler such as 'euler' for the search."
            )
        features = torch.stack([torch.stack([self._seen[key] for key in by_role], 1) for by_role in keys])
        mixed = torch.tensordot(torch.tensor(shares).double(), features.cpu().double(), dims=1)  # (B, T, K)
        levels = [self._run.noise_at(sigma) for sigma in self._run.sigmas]
        return gap_costs(mixed, torch.tensor(levels, dtype=torch.float64))


def gap_costs(features: Tensor, levels: Tensor) -> Tensor:
    """Return the squared error that reusing a feature makes over each gap, relative to the feature's size.

    Args:
        features: (B, T, K) in every step.
        levels: (T + 1,) share of noise at every step and after the last.

    Returns:
        (B, T, T + 1): at (j, m), of j's feature in the steps j + 1 to m - 1; infinite where m <= j.
    """
    num_pictures, num_steps, _ = features.shape
    found = torch.full((num_pictures, num_steps, num_steps + 1), torch.inf, dtype=features.dtype)
    size = features.square().sum(2).mean(1).clamp(min=torch.finfo(features.dtype).tiny)
    spans = levels.diff()
    moved = torch.nn.functional.pad((features * spans[:, None]).cumsum(1), (0, 0, 1, 0))  # (B, T + 1, K)
    for step in range(num_steps):
        following = slice(step + 1, None)
        reused = features[:, step, None] * (levels[following] - levels[step + 1])[:, None]
        off = reused - (moved[:, following] - moved[:, step + 1, None])
        found[:, step, following] = off.square().sum(2) / size[:, None]
    return found

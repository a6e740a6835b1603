"""What leaving steps out costs, by forecasting along recorded uncached samplings: no network runs.

In a step of Euler the latent moves by (sigma_(k+1) - sigma_k) times the step's output, so a step that is forecast leaves the latent
off by that much of the forecast's error. Within a gap these errors are summed up as they are, and may cancel; those of
different gaps are taken to be unrelated, so that the squares of gaps add up and the best list can be computed. Other samplers move the
latent by other shares, and guidance may be mixed in other ways than N + s (P - N); for them, and for what the network makes of a
latent that is already off, real runs have the last word.

Of several pictures the geometric mean counts, which is no sum of gaps. Near a list it is one: its logarithm changes by the mean over
pictures of what a gap adds, in parts of what all gaps of that list cost that picture. So the best list is computed a few times, each
time near the one before.

How much an error matters in the end depends on when it was made: later steps may take it back or make it grow. The search fits
one number for that to the errors of the real runs: see `beliefs`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..forecasting import ForecastConfig, forecast
from ..types import MODEL_SITE, Call, Snapshot, Target
from .beliefs import SLOPES, Belief
from .lists import Steps, cheapest, neighbours
from .record import SMALLEST, Record, typical

ROUNDS = 4
"""Most times that the best list is computed near the one before."""


class GapTable:
    """Costs of gaps between full steps, as squared relative errors of the final latent; worked out when asked for."""

    def __init__(self, record: Record, settings: ForecastConfig, num_full: int) -> None:
        """Forecast as `settings` say, along `record`, for lists of `num_full` steps."""
        self._num_full = num_full
        self._run, self._settings = record.run, settings
        self._outputs, self._shares, self._scales = record.outputs, record.shares, record.scales[:, None]
        self._drifts: dict[tuple[Steps, int], Tensor] = {}
        self._costs: dict[tuple[Steps, int], Tensor] = {}
        self._best: dict[Belief, Steps] = {}
        calls = [
            Call(index=k, step=k, sigma=self._run.sigmas[k], run=self._run) for k in range(self.num_steps)
        ]
        self._snapshots = [
            [Snapshot(call=call, value=self._outputs[:, role, call.step]) for call in calls]
            for role in range(len(self._shares))
        ]

    @property
    def num_steps(self) -> int:
        """T."""
        return self._run.num_steps

    def cost(self, steps: Steps, until: int) -> Tensor:
        """Return the squared error that leaving out the steps from `steps` to `until` makes in each picture, (P,)."""
        gap = steps[-self._settings.memory :], until
        if gap not in self._costs:
            self._costs[gap] = self._drift(*gap).square().sum(1)
        return self._costs[gap]

    def predicted(self, steps: Steps, belief: Belief) -> float:
        """Return the error of a list, up to a factor that is the same for all."""
        return typical(self._total(steps, belief).sqrt())

    def best(self, belief: Belief) -> Steps:
        """Return the list with the lowest predicted error."""
        if belief not in self._best:
            self._best[belief] = self._worked_out(belief)
        return self._best[belief]

    @property
    def beliefs(self) -> tuple[Belief, ...]:
        """Beliefs to choose from: a list leaves no step half computed."""
        return SLOPES

    def near(self, steps: Steps, belief: Belief) -> set[Steps]:
        """Return the lists with one full step elsewhere than `steps`."""
        return set(neighbours(steps, self.num_steps))

    def _worked_out(self, belief: Belief) -> Steps:
        alike = torch.ones_like(self._scales[:, 0])
        found = [self._cheapest(belief, alike)]
        for _ in range(ROUNDS):
            shares = 1.0 / self._total(found[-1], belief).clamp(min=SMALLEST**2)
            found.append(self._cheapest(belief, shares))
            if found[-1] in found[:-1]:
                break
        return min(found, key=lambda steps: self.predicted(steps, belief))

    def _cheapest(self, belief: Belief, shares: Tensor) -> Steps:
        """Return the list whose gaps cost least, where a picture counts by its share of `shares` (P,)."""
        known: dict[tuple[Steps, int], float] = {}

        def cost(steps: Steps, until: int) -> float:
            gap = steps[-self._settings.memory :], until
            if gap not in known:
                known[gap] = float(self.cost(*gap) @ shares) * belief.weight(steps[-1], self.num_steps)
            return known[gap]

        return cheapest(self.num_steps, self._num_full, cost)

    def _total(self, steps: Steps, belief: Belief) -> Tensor:
        """Return what all gaps of a list cost each picture, (P,)."""
        ends = (*steps[1:], self.num_steps)
        gaps = [
            self.cost(steps[: i + 1], end) * belief.weight(step, self.num_steps)
            for i, (step, end) in enumerate(zip(steps, ends, strict=True))
        ]
        return torch.stack(gaps).sum(0)

    def _drift(self, history: Steps, until: int) -> Tensor:
        """Return (P, K): by how much the latents are off before step `until`, of those computed after `history`."""
        if until == history[-1] + 1:
            return torch.zeros_like(self._outputs[:, 0, 0])
        if (history, until) not in self._drifts:
            self._drifts[history, until] = self._drift(history, until - 1) + self._missed(history, until - 1)
        return self._drifts[history, until]

    def _missed(self, history: Steps, step: int) -> Tensor:
        """Return (P, K): what forecasting `step` from `history` does to the latents, relative to their norm."""
        sigmas = self._run.sigmas
        errors = [share * self._error(role, history, step) for role, share in enumerate(self._shares)]
        return torch.stack(errors).sum(0) * (sigmas[step + 1] - sigmas[step]) / self._scales

    def _error(self, role: int, history: Steps, step: int) -> Tensor:
        """Return (P, K): by how much the forecast of a role's output misses."""
        snapshots = self._snapshots[role]
        call, truth = snapshots[step].call, snapshots[step].value
        target = Target(call=call, site=MODEL_SITE, stream=0, role=role)
        return forecast(tuple(snapshots[k] for k in history), target, self._settings) - truth

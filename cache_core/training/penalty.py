"""How dear a computed feature is: a fixed penalty, or one that is steered until the router meets a ratio or a speed.

The papers fix the weight beta of the penalty sum(sigmoid(score)) and take the refresh ratio that comes of it; what it must
be for a given ratio differs from model to model by orders of magnitude. Ours, where a ratio is given: to second order the
distortion that a site of share w causes is c (1 - w)^2, so the loss c (1 - w)^2 + beta w is least at w = 1 - beta / (2 c),
which is above the threshold where beta < 2 (1 - threshold) c. That bound, the price up to which the site is worth its
computation, is measured in every update from the gradient of the distortion, -2 c (1 - w), and the beta that leaves the given
share of all sites above it is a quantile of the prices. What several sites do to each other is in the gradients: it
makes the prices change while the scores move, and the quantile with them, until both stand still. At a site
whose share is the threshold the measured price is exact, so the boundary between computed and reused is where it belongs.

Where a speed is to be met, sites cost what they take (`costs`): the penalty is beta * sum(cost * share), a site is worth
its price per cost, and the quantile is weighted by the costs: reused is what is worth least, until the budget is met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .costs import Costs, count_for

MEMORY = 0.9
"""Share of its old value that the running mean of a price keeps in an update."""

LEAST = 1e-12
"""Penalty where no site is worth anything: enough to lower scores, as the optimiser takes no notice of size."""


class Penalty:
    """The weight beta of the penalty, from prices (T, S)."""

    def __init__(
        self, costs: Costs, steps: Sequence[int], threshold: float, wanted: float, fixed: float | None
    ) -> None:
        """Start without any price.

        Args:
            costs: Of all sites and steps.
            steps: The trained steps.
            threshold: Share above which a site is computed.
            wanted: Share of the trained steps' work that is to be done.
            fixed: The penalty, where it is not to be steered.
        """
        self._costs, self._calls = costs, costs.calls[list(steps)]
        self._threshold, self._wanted, self._fixed = threshold, wanted, fixed
        self._prices = torch.zeros(len(steps), len(costs.own))
        self._known = torch.zeros(len(steps), dtype=torch.bool)

    @property
    def weight(self) -> float:
        """The penalty on a site of cost 1: between the dearest that is to be reused and the next."""
        if self._fixed is not None:
            return self._fixed
        if not bool(self._known.any()):
            return LEAST
        prices = self._prices[self._known]
        costs = self._costs.divided(prices)
        worth, order = (prices / costs).flatten().sort()
        spent = (costs * self._calls[self._known, None]).flatten()[order]
        num_reused = count_for((1 - self._wanted) * float(spent.double().sum()), spent)
        if num_reused in (0, len(worth)):
            return LEAST if not num_reused else max(2 * float(worth[-1]), LEAST)
        return max(float(worth[num_reused - 1 : num_reused + 1].mean()), LEAST)

    def on(self, row: int) -> Tensor:
        """Return the penalty (S,) on every site of one trained step, by its number among them."""
        return self.weight * self._costs.divided(self._prices[row : row + 1])[0]

    def observe(self, row: int, shares: Tensor, gradient: Tensor) -> None:
        """Learn the prices of one trained step from an update.

        Args:
            row: Its number among the trained steps.
            shares: Shares (S,) before the update.
            gradient: Gradient (S,) of the distortion with respect to them.
        """
        prices = (-gradient * (1 - self._threshold) / (1 - shares)).clamp(min=0.0).cpu()
        old = self._prices[row] if bool(self._known[row]) else prices
        self._prices[row] = MEMORY * old + (1 - MEMORY) * prices
        self._known[row] = True

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {"prices": self._prices.clone(), "known": self._known.clone()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self._prices, self._known = state["prices"].clone(), state["known"].clone()

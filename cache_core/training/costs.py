"""What the sites of a call cost: each the same, as a refresh ratio counts them, or the time that they take.

The time is that of the reports of uncached runs, by piece of work: one of a single site, or one that several share, such as two
streams' joint attention, which is saved only where all of them are reused. A piece counts the same in every block of the same make:
the median over such blocks and all calls. Single times differ by more than such blocks do, and a router is to learn the network, not what
else the machine did meanwhile. Times are relative: an average site costs 1.

Shapes: T steps, S sites, R rows of steps.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..policy import POLICIES
from ..report import RunReport
from ..types import Run, Site
from .method import Lesson
from .trajectory import Draw

NUM_CALLS = 8
"""Calls that are timed at least, besides the first of each run, which warms up."""

LEAST = 1e-6
"""Cost of a site that takes no time that a clock could see."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Costs:
    """The work of a sampling.

    Attributes:
        own: (S,) float32, work of each site alone in one call.
        shared: Work in one call that the sites of these numbers share.
        calls: (T,) float32, how many calls each step makes.
        outside: Time of a call outside of all sites, over that inside.
    """

    own: Tensor
    shared: tuple[tuple[tuple[int, ...], float], ...] = ()
    calls: Tensor
    outside: float = 0.0

    @classmethod
    def even(cls, num_steps: int, num_sites: int) -> Costs:
        """Return the costs by which the cost ratio is the refresh ratio."""
        return cls(own=torch.ones(num_sites), calls=torch.ones(num_steps))

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Costs:
        """Return the costs of a state."""
        shared = tuple((tuple(sites), cost) for sites, cost in state["shared"])
        return cls(own=state["own"], shared=shared, calls=state["calls"], outside=state["outside"])

    def state(self) -> dict[str, Any]:
        """Return tensors and plain values, of which a file makes the same costs again."""
        shared = [[list(sites), cost] for sites, cost in self.shared]
        return {
            "own": self.own.clone(),
            "shared": shared,
            "calls": self.calls.clone(),
            "outside": self.outside,
        }

    def share_of(self, steps: Sequence[int]) -> float:
        """Return the share of some steps in all work."""
        return float(self.calls[list(steps)].sum()) / float(self.calls.sum())

    def speedup_at(self, ratio: float) -> float:
        """Return the ideal speedup of a sampling of which this share of the work is done."""
        return (1 + self.outside) / (ratio + self.outside)

    def ratio_at(self, speedup: float) -> float:
        """Return the share of the work that may be done for an ideal speedup; 0 or less where it cannot be reached."""
        return (1 + self.outside) / speedup - self.outside

    def spent(self, scores: Tensor) -> Tensor:
        """Return what each site adds (T, S) where those of a step are computed from the highest score (T, S) down.

        The first of those that share work pays for it.
        """
        spent, rows = self.own.repeat(len(scores), 1), torch.arange(len(scores))
        for sites, cost in self.shared:
            spent[rows, torch.tensor(sites)[scores[:, sites].argmax(dim=1)]] += cost
        return spent * self.calls[:, None]

    def ratio(self, computed: Tensor) -> float:
        """Return the share of the work that is done where the sites `computed` (T, S) are."""
        spent = self.spent(computed.float())
        return float(spent[computed].sum() / spent.sum())

    def divided(self, prices: Tensor) -> Tensor:
        """Return what each site costs (R, S), shared work divided among those whose prices (R, S) pay for it.

        Shared work is worth its time as long as the sites that use it are together worth that and their own. Divided in
        proportion to their prices, all of these break even at once; a site that is not worth its own time pays for no other.
        """
        costs = self.own.expand_as(prices).clone()
        for sites, cost in self.shared:
            costs[:, sites] = _divided(prices[:, sites], self.own[list(sites)], cost)
        return costs


def _divided(prices: Tensor, own: Tensor, shared: float) -> Tensor:
    """Return `own` (n,) with work that all n sites share, by their prices (R, n): (R, n)."""
    order = (prices / own).argsort(dim=1, descending=True)
    together = prices.gather(1, order).cumsum(dim=1) / (shared + own[order].cumsum(dim=1))
    worth = together.amax(dim=1, keepdim=True)
    paid = torch.where(prices > own * worth, prices / worth, own)
    return torch.where(worth > 0, paid, own + shared / len(own))


def count_for(budget: float, costs: Tensor) -> int:
    """Return how many of `costs` (N,), taken in their order, come nearest to a sum of `budget`."""
    sums = np.concatenate(([0.0], costs.double().cumsum(dim=0).numpy()))
    return round(float(np.interp(budget, sums, np.arange(len(sums)))))


def measured(lesson: Lesson, method: str, sites: Sequence[Site]) -> Costs:
    """Return the costs in runs of a method without a router, which compute everything and keep what a cached run keeps."""
    policy, run = POLICIES[method], lesson.trajectory.run
    prompt, seeds = lesson.draws.draw(0)
    num_runs = math.ceil(NUM_CALLS / max(run.num_steps - 1, 1))
    reports = [
        lesson.trajectory.timed(Draw(prompt=prompt, seeds=seeds), policy(policy.config_type()))
        for _ in range(num_runs)
    ]
    return costs_of(reports, sites, run)


def costs_of(reports: Sequence[RunReport], sites: Sequence[Site], run: Run) -> Costs:
    """Return what the reports of uncached runs say of `sites`."""
    number = {str(site): index for index, site in enumerate(sites)}
    warm = [call for report in reports for call in report.calls[1:] or report.calls]
    pieces = [tuple(number[name] for name in names) for names in reports[0].pieces]
    seconds = _typical(pieces, [call.work for call in warm], sites)
    unit = sum(seconds) / len(sites)
    own = torch.zeros(len(sites))
    for numbers, each in zip(pieces, seconds, strict=True):
        if len(numbers) == 1:
            own[numbers[0]] = each / unit
    shared = (
        (numbers, each / unit) for numbers, each in zip(pieces, seconds, strict=True) if len(numbers) > 1
    )
    steps = torch.tensor(run.call_steps or range(run.num_steps))
    return Costs(
        own=own.clamp(min=LEAST),
        shared=tuple(shared),
        calls=torch.bincount(steps, minlength=run.num_steps).float(),
        outside=max(median(call.seconds - sum(call.work) for call in warm), 0.0) / sum(seconds),
    )


def _typical(
    pieces: Sequence[tuple[int, ...]], work: Sequence[tuple[float, ...]], sites: Sequence[Site]
) -> list[float]:
    """Return the seconds of every piece of work in a call: the median over calls, and over blocks that have the same parts."""
    parts: dict[tuple[str, int], list[str]] = defaultdict(list)
    for site in sites:
        parts[site.path, site.index].append(site.part)

    def kind(numbers: tuple[int, ...]) -> tuple[str, ...]:
        first = sites[numbers[0]]
        return (first.path, *parts[first.path, first.index], "of which", *(sites[n].part for n in numbers))

    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for numbers, column in zip(pieces, zip(*work, strict=True), strict=True):
        found[kind(numbers)] += column
    return [median(found[kind(numbers)]) for numbers in pieces]

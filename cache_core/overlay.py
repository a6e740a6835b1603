"""A policy on top of another: does what the inner one does, save for what it overrides."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .policy import Config, Evidence, Policy, Since
from .registry import Registry
from .types import Action, Call, History, Indicator, Level, Reading, Run, Site, Target

CORRECTIONS: Registry[Overlay] = Registry("correction")


class Overlay(Policy):
    """A policy that knows nothing of the one it wraps but the contract.

    A correction overrides `estimate`, and `memory` where it looks further back than the inner policy.
    """

    def __init__(self, inner: Policy, config: Config) -> None:
        """Wrap `inner`; `config` is the overlay's own."""
        super().__init__(config)
        self.inner = inner

    @property
    def level(self) -> Level:
        """Level of the inner policy's sites."""
        return self.inner.level

    @property
    def memory(self) -> int:
        """Snapshots that the inner policy looks at."""
        return self.inner.memory

    @property
    def indicator(self) -> Indicator | None:
        """What the inner policy looks at."""
        return self.inner.indicator

    @property
    def compares_with(self) -> Since:
        """Whose indicator the inner policy compares with."""
        return self.inner.compares_with

    @property
    def label(self) -> str:
        """Names of both."""
        return f"{self.inner.label} + {self.title}"

    def describe(self) -> str:
        """Return the settings of both as text."""
        return f"{self.inner.describe()}; {self.config.describe()}"

    def check_run(self, run: Run) -> tuple[str, ...]:
        """Return what the inner policy has to say about a run."""
        return self.inner.check_run(run)

    def measure(self, current: Reading, previous: Reading) -> Tensor:
        """Measure as the inner policy does."""
        return self.inner.measure(current, previous)

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Plan as the inner policy does."""
        return self.inner.plan(call, evidence)

    def estimate(self, history: History, target: Target) -> Tensor:
        """Estimate as the inner policy does, from as many snapshots as it asks for."""
        return self.inner.estimate(history[-self.inner.memory :], target)

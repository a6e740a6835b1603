"""The words of the project as types: levels, sites, lanes, calls, features."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

Feature = tuple[Tensor, ...]
"""What a site makes: one tensor per stream. Dimension 0 is the batch, branch after branch."""


class Level(str, Enum):
    """Where in the network a feature is taken."""

    MODEL = "model"
    STACK = "stack"
    BLOCK = "block"
    MODULE = "module"


class Action(Enum):
    """What a schedule decides for one site in one call."""

    COMPUTE = "compute"
    REUSE = "reuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place where a feature is made, such as the MLP output of one block."""

    level: Level
    path: str
    index: int
    part: str

    def __str__(self) -> str:
        """Return the name used in reports and errors, such as `double_blocks.3.img_mlp`."""
        return f"{self.path}.{self.index}.{self.part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One stream of calls that see the same thing, so that a feature of one may stand in for the next.

    Attributes:
        branch: Identity of the conditioning chunk, given by the host; never its place in the call order.
        variant: What else changes the network's function: patches, context window, the network itself.
        shape: Shape of the branch's network input.
        dtype: Data type of the network input.
        device: Device of the network input.
    """

    branch: Hashable
    variant: Hashable
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known about a sampling run before its first call.

    Attributes:
        sigmas: The schedule, noisiest first; one more entry than there are steps.
        sampler: Name of the sampler, for the report.
        call_steps: The step of each call the sampler will make, or None where that is not known beforehand.
    """

    sigmas: tuple[float, ...]
    sampler: str = "unknown"
    call_steps: tuple[int, ...] | None = None

    @property
    def num_steps(self) -> int:
        """Number of steps of the schedule."""
        return max(len(self.sigmas) - 1, 0)

    @property
    def num_calls(self) -> int | None:
        """Number of calls the sampler will make, or None where that is not known."""
        return None if self.call_steps is None else len(self.call_steps)

    def step_of(self, index: int, sigma: float) -> int:
        """Return the step that makes call `index`: the sampler's own where known, else the interval of `sigma`."""
        if self.call_steps is not None and index < len(self.call_steps):
            return self.call_steps[index]
        last = max(self.num_steps - 1, 0)
        reached = bisect_right([-s for s in self.sigmas], -sigma) - 1
        return min(max(reached, 0), last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One evaluation asked for by the sampler.

    Attributes:
        index: Number of the call within the run, from 0.
        step: Index into the sigma schedule.
        sigma: Noise level of the call.
        run: The run it belongs to.
    """

    index: int
    step: int
    sigma: float
    run: Run

    @property
    def remaining(self) -> int | None:
        """How many calls follow this one, or None where the sampler does not say."""
        return None if self.run.num_calls is None else self.run.num_calls - 1 - self.index


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One stored tensor and the call that made it. The store owns `value`; read it, never write it."""

    call: Call
    value: Tensor


History = tuple[Snapshot, ...]
"""Snapshots of one stream of one site in one lane, oldest first."""

"""What training asks of the host: to sample as it always does, and to ask the training at every call.

The host keeps schedule, sampler, guidance and conditioning; the training decides, call by call, how the network is evaluated
and with which prediction the sampler goes on. So whatever is trained has seen what will run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..policy import Policy
from ..report import RunReport
from ..types import Call, Run
from .session import TrainingSession

Predict = Callable[[TrainingSession], Tensor]
"""Evaluates the network, guidance included, with every pass routed through a session: the predicted picture
(B, C, ...). May be called several times for one call of the sampler; records gradients where they are enabled."""

Handler = Callable[[Call, Predict], Tensor]
"""Answers a call of the sampler with the prediction that it is to go on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One sampling to be made.

    Attributes:
        prompt: Number of the prompt.
        seeds: Seed of the noise of each picture of the batch.
        first: Step at which to begin.
        stop: Step before which to stop; None for all the rest.
        clean: Begin from clean pictures with noise added, and not from noise alone.
    """

    prompt: int
    seeds: tuple[int, ...]
    first: int = 0
    stop: int | None = None
    clean: bool = False


class Trajectory(Protocol):
    """A sampler on a schedule, with its guidance and its prompts."""

    @property
    def run(self) -> Run:
        """The whole schedule and what else is known of a run."""

    @property
    def num_prompts(self) -> int:
        """Number of prompts."""

    @property
    def has_clean(self) -> bool:
        """Whether there are clean pictures."""

    def sample(self, draw: Draw, handle: Handler) -> Tensor:
        """Sample once, asking `handle` at every call, and return the end (B, C, ...)."""

    def timed(self, draw: Draw, policy: Policy) -> RunReport:
        """Sample once as the host does with a cache that follows `policy`, and return the report of that run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Which prompts and which noise: a function of the seed alone, so that a resumed training goes on as it would have.

    Every process has pictures of its own; together they are those that one process with a batch as large would draw.
    All pictures of a sampling share a prompt, in every process: one conditioning serves a batch.

    Attributes:
        seed: Seed of the training.
        batch: Pictures per sampling and process.
        num_prompts: Number of prompts, of which each iteration takes the next.
        rank: Number of this process.
        world: Number of processes.
    """

    seed: int
    batch: int
    num_prompts: int
    rank: int = 0
    world: int = 1

    def draw(self, iteration: int, part: int = 0) -> tuple[int, tuple[int, ...]]:
        """Return the prompt and the seeds of sampling `part` of an iteration."""
        turn = iteration * self.world + self.rank
        first = self.seed + (part << 32) + turn * self.batch
        return iteration % self.num_prompts, tuple(range(first, first + self.batch))

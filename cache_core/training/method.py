"""The contract of a training: one sampling after the other, updating as it goes, and at the end an artefact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..adapter import Adapter
from ..artefact import Kind
from ..chart import Chart
from ..policy import Config
from ..registry import Registry
from ..residence import Residence
from ..types import Call, Level, Site
from .memory import Holdings
from .session import TrainingSession
from .soundness import require_trainable
from .trajectory import Draws, Predict, Trajectory

TRAININGS: Registry[Training] = Registry("training")

Tell = Callable[[float, str], None]
"""Is told, within an iteration, how much of its `work` is done, and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is trained on.

    Attributes:
        adapter: Of the network.
        trajectory: The host's sampling.
        draws: Which prompts and noise.
        device: Where the network computes.
        dtype: In which type it does.
        residence: Where and how features wait between calls.
        recompute: Whether the backward pass runs every block again instead of keeping its activations.
    """

    adapter: Adapter
    trajectory: Trajectory
    draws: Draws
    device: torch.device
    dtype: torch.dtype = torch.float32
    residence: Residence | None = None
    recompute: bool = True

    @property
    def num_steps(self) -> int:
        """Steps of the schedule, T."""
        return self.trajectory.run.num_steps

    def session(self, level: Level) -> TrainingSession:
        """Return a session without any feature."""
        return TrainingSession(level, self.residence, recompute=self.recompute)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What was trained, for the artefact and for people.

    Attributes:
        kind: Kind of the artefact.
        method: Name of the method that follows it.
        tensors: Its tensors.
        threshold: Of a router.
        made: How it was made, beyond what the trainer knows.
        measured: What it measured.
        charts: What to show.
        text: What to tell, one fact per line.
    """

    kind: Kind
    method: str
    tensors: Mapping[str, Tensor]
    threshold: float | None = None
    made: Mapping[str, str | int | float | bool]
    measured: Mapping[str, float]
    charts: tuple[Chart, ...] = ()
    text: str = ""


class Training(ABC):
    """One objective. Its state is that of its parameters and optimiser; everything drawn is a function of the seed."""

    name: ClassVar[str]
    """Name in settings."""
    title: ClassVar[str]
    """What it makes, as users call it."""
    source: ClassVar[str]
    """Paper and repository."""
    config_type: ClassVar[type[Config]]
    level: ClassVar[Level]
    """Level of the trained sites."""

    def __init__(self, config: Config, lesson: Lesson) -> None:
        """Prepare to train on `lesson`.

        Raises:
            CacheError: If the settings mean nothing for it, or weights carry no gradients.
        """
        require_trainable(lesson.adapter.network)
        self.config, self.lesson = config, lesson
        self.sites: tuple[Site, ...] = lesson.adapter.sites(self.level)
        self.tell: Tell = lambda part, doing: None

    def holdings(self) -> Holdings:
        """Return what it holds besides the features of its sites."""
        return Holdings()

    def work(self, number: int) -> float:
        """Return what iteration `number` costs beside the others, to foresee when the training ends."""
        return 1.0

    def begin(self, tell: Callable[[str], None]) -> None:  # noqa: B027 - most have nothing to do
        """Prepare a new training; one that is gone on with takes up a state instead. `tell` is told what is being done.

        Raises:
            CacheError: If what is asked for cannot be reached.
        """

    @abstractmethod
    def iterate(self, number: int) -> float:
        """Run iteration `number`, counted from 0, and return its mean loss without the penalty.

        Raises:
            CacheError: If the network lets no gradient through, or the loss is no number.
        """

    @abstractmethod
    def figures(self) -> Mapping[str, float]:
        """Return what to watch besides the loss."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs: tensors on the CPU and plain values, none shared."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""

    @abstractmethod
    def outcome(self) -> Outcome:
        """Return what has been trained."""


def distortion(teacher: Tensor, student: Tensor, call: Call) -> Tensor:
    """Return the mean squared difference () of two predictions as the network's own output, float32.

    A prediction is a picture, x - sigma * v, with the output v: noise, or the velocity of a flow. So the difference
    of outputs is that of pictures over sigma, whatever the latent x was.

    Args:
        teacher: (B, C, ...) predicted picture.
        student: (B, C, ...) predicted picture.
        call: The call, for its sigma.
    """
    return ((teacher.float() - student.float()) / max(call.sigma, 1e-6)).square().mean()


def teach(session: TrainingSession, call: Call, treatment: Any, predict: Predict) -> Tensor:
    """Return a prediction (B, C, ...) without gradients."""
    with torch.no_grad():
        return session.evaluate(call, treatment, predict)

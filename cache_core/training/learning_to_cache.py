"""Trains a Learning-to-Cache router: pairs of steps, the second of which mixes in what the first computed.

Ma et al. 2024, "Learning-to-Cache" (NeurIPS 2024, arXiv:2406.01733), section 3.3, and horseee/learning-to-cache, `DiT/train_router.py`.
The first step of a pair runs in full and its attention and MLP outputs, before the gate, are kept; the sampler makes its step;
in the second, L = mean (full output - mixed output)^2 + lambda * sum(sigmoid(score)). AdamW without decay, rate 0.01, scores
within [-5, 5], soft shares.

Ours where it differs: an iteration takes every pair once, where the paper draws one at random, and its pictures share a prompt, where
the paper draws a label for each. Predictions are those that the sampler gets, guidance included: the published code compares what
the network returns for a label alone, which it drops with a probability of 0.1, and all that it returns, the channels of a learned
variance too, which ComfyUI cuts off (PixArt). Pairs count back from the last step, as in the cached run. States are real pictures with noise added, as
published, where pictures are given; else those of the model's own uncached runs, which need no data. AdamW's epsilon is
1e-15. The penalty can be steered (`penalty`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ConfigError
from ..policy import Config
from ..types import Call
from .learner import averaged
from .method import TRAININGS, teach
from .router_config import RouterConfig
from .routers import RouterTraining
from .session import Computed
from .trajectory import Draw, Predict


@TRAININGS.register
class LearningToCacheTraining(RouterTraining):
    """One share per site in the second step of every pair."""

    name = "learning_to_cache"
    title = "Learning-to-Cache"
    source = "arXiv:2406.01733, github.com/horseee/learning-to-cache"
    config_type: ClassVar[type[Config]] = RouterConfig

    def trained_steps(self) -> Sequence[int]:
        """Return the second step of every pair.

        Raises:
            ConfigError: If the steps make no pairs.
        """
        num_steps = self.lesson.num_steps
        if num_steps < 2 or num_steps % 2:
            raise ConfigError(
                f"The schedule has {num_steps} steps, expected an even number: {self.title} works on pairs of steps. Use "
                f"{num_steps + 1} steps, or train 'harmonica', which needs no pairs."
            )
        return range(1, num_steps, 2)

    def limit(self, least: float) -> tuple[str, str]:
        """Return why less than half cannot be computed, and which method has no such limit."""
        why = (
            f"the first step of every pair is always computed, so {self.title} reuses at most {1 - least:.0%}"
        )
        return why, ", or train 'harmonica', which has no pairs"

    def iterate(self, number: int) -> float:
        """Learn from every pair once."""
        draws, trajectory = self.lesson.draws, self.lesson.trajectory
        sampling = Pairs(self)
        if trajectory.has_clean:
            for part, second in enumerate(self.router.trained):
                prompt, seeds = draws.draw(number, part)
                draw = Draw(prompt=prompt, seeds=seeds, first=second - 1, stop=second + 1, clean=True)
                trajectory.sample(draw, sampling.handle)
        else:
            prompt, seeds = draws.draw(number)
            trajectory.sample(Draw(prompt=prompt, seeds=seeds), sampling.handle)
        return float(averaged(torch.stack(sampling.losses).mean()))


class Pairs:
    """The answers of one iteration: the sampler always goes on with the plain prediction."""

    def __init__(self, training: LearningToCacheTraining) -> None:
        """Begin a sampling without any feature."""
        self._training = training
        self.session = training.lesson.session(training.level)
        self.losses: list[Tensor] = []

    def handle(self, call: Call, predict: Predict) -> Tensor:
        """Keep the features of a first step; learn from a second one."""
        teacher = teach(self.session, call, Computed(), predict)
        if call.step not in self._training.router.trained:
            self.session.commit()
            return teacher
        _, loss = self._training.update(self.session, call, predict, teacher)
        self.losses.append(loss)
        return teacher

"""Trains a HarmoniCa router: whole samplings from noise, with a loss that knows what a step means for the final image.

Huang et al. 2025, "HarmoniCa" (ICML 2025, arXiv:2410.01723), sections 4.1 and 4.2, and ModelTC/HarmoniCa. Step-wise denoising training: from pure noise,
without image data, every step of the schedule; the teacher is the plain network at the student's state; the student mixes fresh
features with kept ones, a kept feature is overwritten by the mixture only where the share is above the threshold; one
update per step; the sampler goes on with the student's prediction. The first step is full.

Loss in step t: lambda_t * mean (teacher - student)^2 + beta * sum(sigmoid(score_t)). Image error proxy: lambda_t is how much
caching in t moves the final image under the router as it decides now, found anew every `proxy_every` iterations. As in the paper:
the mean squared difference between the image made with the router in all steps and the one with step t computed in full. As in
the authors' code (`incremental`): from no caching at all, the router is installed step by step, first to last, and each image
is compared with the one before.

Ours where it differs: the image is the final latent, as no decoder is at hand. Predictions are those that the sampler gets,
guidance included. Any sampler of the host, not only DDIM. AdamW's epsilon is 1e-15. The penalty can be steered (`penalty`).
A step in which the router reuses nothing as yet moves nothing: its lambda, which would be 0 and leave the penalty alone with
the scores, is measured with all of the step reused. An iteration is a sampling, so one update per step; the authors' example finds
the proxies anew every 500 updates, which is every 25 iterations of 20 steps. Other defaults are that example's: rate 0.01,
threshold 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..errors import ConfigError
from ..policy import Config, setting
from ..types import Call, Site
from .learner import averaged
from .method import TRAININGS, Lesson, teach
from .router import Decided
from .router_config import RouterConfig
from .routers import RouterTraining
from .session import Computed
from .trajectory import Draw, Predict

ALL, INCREMENTAL = "all but one", "incremental"

LEARNING = 5
"""Samplings that one costs that learns: teacher, student, the student's blocks again, and a backward pass of twice their work."""

PROXY_PART = 1
"""Part of an iteration that draws the noise of its proxies."""


@dataclass(frozen=True, kw_only=True)
class HarmoniCaTrainingConfig(RouterConfig):
    """Settings of HarmoniCa's training."""

    proxy: str = setting(
        ALL,
        "How much a step matters for the final image: 'all but one' as in the paper, 'incremental' as in the authors' code.",
        choices=(ALL, INCREMENTAL),
        advanced=True,
    )
    proxy_every: int = setting(
        25,
        "Iterations after which that is found anew; each time costs as many samplings as there are steps.",
        minimum=1,
        maximum=1_000_000,
        advanced=True,
    )


@TRAININGS.register
class HarmoniCaTraining(RouterTraining):
    """One share per site and step."""

    name = "harmonica"
    title = "HarmoniCa"
    source = "arXiv:2410.01723, github.com/ModelTC/HarmoniCa"
    config_type: ClassVar[type[Config]] = HarmoniCaTrainingConfig

    def __init__(self, config: Config, lesson: Lesson) -> None:
        """Draw a router, of which every step matters the same as yet."""
        super().__init__(config, lesson)
        self.proxies = torch.ones(lesson.num_steps)

    def trained_steps(self) -> Sequence[int]:
        """Return all steps but the first.

        Raises:
            ConfigError: If there are none.
        """
        num_steps = self.lesson.num_steps
        if num_steps < 2:
            raise ConfigError(
                f"The schedule has {num_steps} step, expected at least 2: the first is always computed."
            )
        return range(1, num_steps)

    def iterate(self, number: int) -> float:
        """Learn from every step of one sampling."""
        own = cast(HarmoniCaTrainingConfig, self.config)
        if number % own.proxy_every == 0:
            self.proxies = self.find_proxies(number)
        prompt, seeds = self.lesson.draws.draw(number)
        sampling = Denoising(self)
        self.lesson.trajectory.sample(Draw(prompt=prompt, seeds=seeds), sampling.handle)
        return float(averaged(torch.stack(sampling.losses).mean()))

    def work(self, number: int) -> float:
        """Return the cost in samplings: one that learns, and, where the proxies are found anew, one per step."""
        own = cast(HarmoniCaTrainingConfig, self.config)
        return LEARNING + (0 if number % own.proxy_every else self.lesson.num_steps)

    def state(self) -> dict[str, Any]:
        """Return scores, optimiser, penalty and proxies."""
        return super().state() | {"proxies": self.proxies.clone()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        super().restore(state)
        self.proxies = state["proxies"].clone()

    def find_proxies(self, number: int) -> Tensor:
        """Return lambda (T,) of every step, by the router as it decides now."""
        own = cast(HarmoniCaTrainingConfig, self.config)
        chosen, steps = self.router.computed(own.threshold), self._told(self.router.trained)
        found = torch.zeros(self.lesson.num_steps)
        if own.proxy == ALL:
            cached = self._image(number, chosen)
            for step in steps:
                found[step] = _moved(
                    cached, self._image(number, _with_row(chosen, step, _other(chosen[step])))
                )
        else:
            mask = torch.ones_like(chosen)
            before = self._image(number, mask)
            for step in steps:
                reuses = not bool(chosen[step].all())
                row = chosen[step] if reuses else _other(chosen[step])
                now = self._image(number, _with_row(mask, step, row))
                found[step] = _moved(before, now)
                if reuses:
                    mask, before = _with_row(mask, step, row), now
        return averaged(found.to(self.lesson.device)).cpu()

    def _told(self, steps: Sequence[int]) -> Iterator[int]:
        """Yield every step, and tell when its sampling is made."""
        for step in steps:
            yield step
            self.tell(step + 1, f"found what {step} of {len(steps)} steps mean for the image")

    def _image(self, number: int, computed: Tensor) -> Tensor:
        """Return the end of a sampling cached as `computed` (T, S) says."""
        prompt, seeds = self.lesson.draws.draw(number, PROXY_PART)
        session = self.lesson.session(self.level)

        def handle(call: Call, predict: Predict) -> Tensor:
            prediction = teach(session, call, Decided(self.sites, computed[call.step]), predict)
            session.commit()
            return prediction

        return self.lesson.trajectory.sample(Draw(prompt=prompt, seeds=seeds), handle)


class Denoising:
    """The answers of one iteration: the sampler goes on with what the student predicts."""

    def __init__(self, training: HarmoniCaTraining) -> None:
        """Begin a sampling without any feature."""
        self._training = training
        self.session = training.lesson.session(training.level)
        self.losses: list[Tensor] = []

    def handle(self, call: Call, predict: Predict) -> Tensor:
        """Keep the features of the first step; learn from every other one."""
        training = self._training
        teacher = teach(self.session, call, Computed(), predict)
        if call.step == 0:
            self.session.commit()
            return teacher
        shares = training.router(call.step).detach()
        factor = float(training.proxies[call.step])
        student, loss = training.update(self.session, call, predict, teacher, factor)
        kept = self._above(shares)
        self.session.commit(kept.__contains__)
        self.losses.append(loss)
        return student

    def _above(self, shares: Tensor) -> set[Site]:
        """Return the sites whose kept feature is overwritten: those of a share above the threshold."""
        training = self._training
        above = (shares > training.settings.threshold).tolist()
        return {site for site, is_above in zip(training.sites, above, strict=True) if is_above}


def _other(row: Tensor) -> Tensor:
    """Return what to compare a step with: all computed, or, where that is what the router does, all reused."""
    return torch.full_like(row, not bool(row.all()))


def _with_row(mask: Tensor, step: int, row: Tensor) -> Tensor:
    changed = mask.clone()
    changed[step] = row
    return changed


def _moved(image: Tensor, other: Tensor) -> float:
    return float((image.float() - other.float()).square().mean())

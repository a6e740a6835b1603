"""What the trainings of a router share: its settings, its update, and what it shows at the end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..artefact import Kind
from ..chart import HeatMap
from ..errors import ConfigError
from ..policy import Config, setting
from ..types import Call, Level
from .gradients import leaves_of, writable
from .learner import Learner, averaged
from .method import Lesson, Outcome, Training, distortion, teach
from .penalty import Penalty
from .router import Mixture, Router
from .session import TrainingSession
from .soundness import GradientCheck, require_sound
from .trajectory import Predict

TOLERANCE = 0.02
"""How near a router must come to the wanted refresh ratio."""


@dataclass(frozen=True, kw_only=True)
class RouterConfig(Config):
    """Settings of the training of a router."""

    refresh_ratio: float = setting(
        0.75,
        "Share of all evaluations that the router is to compute; the penalty is steered to meet it within 2 points. Lower is "
        "faster and further from the uncached picture.",
        minimum=0.0,
        maximum=1.0,
    )
    penalty: float = setting(
        0.0,
        "The paper's penalty on computing, in place of a refresh ratio. 0 steers it to meet 'refresh_ratio'.",
        minimum=0.0,
        maximum=1000.0,
        advanced=True,
    )
    learning_rate: float = setting(
        0.01,
        "Step of every update. A score needs 3 to 5 / learning_rate iterations to become a decision.",
        minimum=0.0001,
        maximum=1.0,
        advanced=True,
    )
    threshold: float = setting(
        0.1,
        "A site is computed where sigmoid(score) is above this. The papers use 0.1.",
        minimum=0.01,
        maximum=0.99,
        advanced=True,
    )


class RouterTraining(Training):
    """Trains the scores of some steps; a method says of which, on which states, and how much each counts."""

    level: ClassVar[Level] = Level.MODULE

    def __init__(self, config: Config, lesson: Lesson) -> None:
        """Draw a router.

        Raises:
            CacheError: If the method means nothing for the schedule, or cannot reach the refresh ratio.
        """
        super().__init__(config, lesson)
        trained = self.trained_steps()
        own = self.settings
        share = len(trained) / lesson.num_steps
        if not own.penalty and own.refresh_ratio < 1 - share - 1e-9:
            raise ConfigError(self.too_low(1 - share))
        wanted = 1 - (1 - own.refresh_ratio) / share
        router = Router(lesson.num_steps, len(self.sites), trained, lesson.draws.seed)
        self.learner = Learner(router, own.learning_rate, lesson.device, lesson.dtype)
        self.penalty = Penalty((len(trained), len(self.sites)), own.threshold, wanted, own.penalty or None)
        self._check = GradientCheck()

    @property
    def settings(self) -> RouterConfig:
        """The configuration."""
        return cast(RouterConfig, self.config)

    @property
    def router(self) -> Router:
        """The router as it is now."""
        return cast(Router, self.learner.module)

    @abstractmethod
    def trained_steps(self) -> Sequence[int]:
        """Return the steps in which the method caches.

        Raises:
            ConfigError: If there are none.
        """

    def too_low(self, least: float) -> str:
        """Return why a refresh ratio below `least` cannot be met."""
        return (
            f"'refresh_ratio' is {self.settings.refresh_ratio}, expected at least {least:g}: {self.title} always computes "
            f"{least:.0%} of all. Raise it."
        )

    def update(
        self, session: TrainingSession, call: Call, predict: Predict, teacher: Tensor, factor: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Learn from one call: loss = factor * distortion + beta * sum(shares).

        Args:
            session: Holds the features to mix with.
            call: The call, in a trained step.
            predict: Evaluates the network.
            teacher: (B, C, ...) what the plain network predicts.
            factor: What the distortion of this step counts.

        Returns:
            The student's prediction (B, C, ...) and the distortion (), both without gradients.

        Raises:
            CacheError: If the network lets no gradient through, or the distortion is no number.
        """
        weight = self.penalty.weight
        with torch.enable_grad(), writable():
            shares = self.learner.replica(call.step)
            (leaf,) = leaves_of([shares])
            student = session.evaluate(call, Mixture(self.sites, leaf), predict)
            loss = distortion(teacher, student, call)
            require_sound(loss, call)
            (gradient,) = self.learner.descend(factor * loss + weight * leaf.sum(), [leaf], [shares])
        gradient = gradient - weight
        if self._check.is_due and factor:

            def error(nudge: float) -> Tensor:
                moved = Mixture(self.sites, leaf.detach() + nudge)
                return distortion(teacher, teach(session, call, moved, predict), call)

            self._check.compare(float(gradient.sum()) / factor, error)
        gradient = averaged(gradient)
        if bool(gradient.isfinite().all()):
            self.penalty.observe(self.router.trained.index(call.step), leaf.detach(), gradient)
        self.router.clamp()
        return student.detach(), loss.detach()

    def figures(self) -> Mapping[str, float]:
        """Return the refresh ratio that the router has now, and the penalty."""
        ratio = self.router.refresh_ratio(self.settings.threshold)
        return {"refresh_ratio": ratio, "penalty": self.penalty.weight}

    def state(self) -> dict[str, Any]:
        """Return scores, optimiser and penalty."""
        return {"learner": self.learner.state(), "penalty": self.penalty.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self.learner.restore(state["learner"])
        self.penalty.restore(state["penalty"])

    def outcome(self) -> Outcome:
        """Return the router. Where its ratio is not within 2 points of the wanted one, its threshold is moved to meet it."""
        own, scores = self.settings, self.router.scores()
        threshold, is_moved = own.threshold, False
        if not own.penalty and abs(self.router.refresh_ratio(threshold) - own.refresh_ratio) > TOLERANCE:
            threshold, is_moved = _meeting(self.router, own.refresh_ratio), True
        ratio = self.router.refresh_ratio(threshold)
        return Outcome(
            kind=Kind.ROUTER,
            method=self.name,
            tensors={"score": scores},
            threshold=threshold,
            made={
                "learning_rate": own.learning_rate,
                "penalty": self.penalty.weight,
                "wanted_refresh_ratio": own.refresh_ratio,
                "is_threshold_moved": is_moved,
            },
            measured={"refresh_ratio": ratio},
            charts=(self._picture(threshold),),
            text=self._words(ratio, threshold, is_moved),
        )

    def _picture(self, threshold: float) -> HeatMap:
        return HeatMap(
            title="Share of the fresh feature, sigmoid(score), by site and step",
            rows=[str(site) for site in self.sites],
            values=torch.sigmoid(self.router.scores()).T,
            marks=self.router.computed(threshold).T,
            legend=f"computed: above {threshold:.3g}",
        )

    def _words(self, ratio: float, threshold: float, is_moved: bool) -> str:
        lines = [
            f"computes {ratio:.1%} of {self.lesson.num_steps} x {len(self.sites)} sites at threshold {threshold:.3g}"
        ]
        if is_moved:
            lines.append(
                f"the threshold was moved from {self.settings.threshold:g} to meet {self.settings.refresh_ratio:.1%}: more "
                "iterations or a higher learning rate would let the scores decide"
            )
        return "\n".join(lines)


def _meeting(router: Router, ratio: float) -> float:
    """Return the threshold at which the refresh ratio comes nearest to `ratio`: between two neighbouring shares."""
    scores = router.scores()[list(router.trained)].flatten().sort(descending=True).values
    full = router.num_steps * router.num_sites - len(scores)
    computed = min(max(round(ratio * router.num_steps * router.num_sites) - full, 0), len(scores))
    shares = torch.sigmoid(scores).tolist()
    above = 1.0 if computed == 0 else shares[computed - 1]
    below = 0.0 if computed == len(shares) else shares[computed]
    return float((above + below) / 2)

"""What the trainings of a router share: how it is steered, its update, and what it shows at the end."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..artefact import Kind
from ..chart import HeatMap
from ..errors import ConfigError
from ..policy import Config
from ..types import Call, Level
from .costs import Costs, measured
from .gradients import leaves_of, writable
from .learner import Learner, averaged, from_first
from .method import Lesson, Outcome, Training, distortion, teach
from .penalty import Penalty
from .router import Mixture, Router
from .router_config import RouterConfig
from .session import TrainingSession
from .soundness import GradientCheck, require_sound
from .trajectory import Predict

TOLERANCE = 0.02
"""How near a router must come to the wanted share of all work, by number or by time."""


class RouterTraining(Training):
    """Trains the scores of some steps; a method says of which, on which states, and how much each counts."""

    level: ClassVar[Level] = Level.MODULE

    def __init__(self, config: Config, lesson: Lesson) -> None:
        """Draw a router.

        Raises:
            CacheError: If the method means nothing for the schedule, or cannot reach the refresh ratio.
        """
        super().__init__(config, lesson)
        own = self.settings
        router = Router(lesson.num_steps, len(self.sites), self.trained_steps(), lesson.draws.seed)
        self.learner = Learner(router, own.learning_rate, lesson.device, lesson.dtype)
        self._check = GradientCheck()
        if not own.speedup:
            self._steer(Costs.even(lesson.num_steps, len(self.sites)))

    def begin(self, tell: Callable[[str], None]) -> None:
        """Time the sites where a speed is asked for, in the first process for all.

        Raises:
            CacheError: If it cannot be reached.
        """
        if self.settings.speedup:
            tell("measuring how long every site takes")
            self._steer(from_first(lambda: measured(self.lesson, self.name, self.sites)))

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

    def limit(self, least: float) -> tuple[str, str]:
        """Return why `least` of all is computed in any case, and what to do besides asking for less."""
        return f"{self.title} always computes {least:.0%} of all", ""

    def _steer(self, costs: Costs) -> None:
        """Set what sites cost, and the penalty that meets what is asked for."""
        own, trained = self.settings, self.router.trained
        share = costs.share_of(trained)
        ratio = costs.ratio_at(own.speedup) if own.speedup else own.refresh_ratio
        if not own.penalty and ratio < 1 - share - 1e-9:
            raise ConfigError(self._out_of_reach(costs, 1 - share))
        self.costs, self.wanted = costs, ratio
        wanted = 1 - (1 - ratio) / share
        self.penalty = Penalty(costs, trained, own.threshold, wanted, own.penalty or None)

    def _out_of_reach(self, costs: Costs, least: float) -> str:
        own, (why, instead) = self.settings, self.limit(least)
        if not own.speedup:
            return f"'refresh_ratio' is {own.refresh_ratio}, expected at least {least:g}: {why}. Raise it{instead}."
        most = math.floor(100 * costs.speedup_at(least)) / 100
        return (
            f"'speedup' is {own.speedup}, expected at most {most:g}: {why}, and {costs.outside / (1 + costs.outside):.0%} of an "
            f"uncached sampling's time is spent outside of what can be reused. Lower it{instead}."
        )

    def update(
        self, session: TrainingSession, call: Call, predict: Predict, teacher: Tensor, factor: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Learn from one call: loss = factor * distortion + beta * sum(cost * share).

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
        row = self.router.trained.index(call.step)
        penalties = self.penalty.on(row).to(self.lesson.device)
        with torch.enable_grad(), writable():
            shares = self.learner.replica(call.step)
            (leaf,) = leaves_of([shares])
            student = session.evaluate(call, Mixture(self.sites, leaf), predict)
            loss = distortion(teacher, student, call)
            require_sound(loss, call)
            (gradient,) = self.learner.descend(factor * loss + (penalties * leaf).sum(), [leaf], [shares])
        gradient = gradient - penalties
        if self._check.is_due and factor:

            def error(nudge: float) -> Tensor:
                moved = Mixture(self.sites, leaf.detach() + nudge)
                return distortion(teacher, teach(session, call, moved, predict), call)

            self._check.compare(float(gradient.sum()) / factor, error)
        gradient = averaged(gradient)
        if bool(gradient.isfinite().all()):
            self.penalty.observe(row, leaf.detach(), gradient)
        self.router.clamp()
        return student.detach(), loss.detach()

    def figures(self) -> Mapping[str, float]:
        """Return what the router saves as it is now, and the penalty."""
        return {**self._measured(self.settings.threshold), "penalty": self.penalty.weight}

    def state(self) -> dict[str, Any]:
        """Return scores, optimiser, costs and penalty."""
        return {
            "learner": self.learner.state(),
            "costs": self.costs.state(),
            "penalty": self.penalty.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state, with the costs that were measured when it began."""
        self.learner.restore(state["learner"])
        self._steer(Costs.restored(state["costs"]))
        self.penalty.restore(state["penalty"])

    def outcome(self) -> Outcome:
        """Return the router. Where its ratio is not within 2 points of the wanted one, its threshold is moved to meet it."""
        own, threshold, is_moved = self.settings, self.settings.threshold, False
        if not own.penalty and abs(self._cost_ratio(threshold) - self.wanted) > TOLERANCE:
            threshold, is_moved = self.router.threshold_at(self.wanted, self.costs), True
        measured = self._measured(threshold)
        wanted = "speedup" if own.speedup else "refresh_ratio"
        return Outcome(
            kind=Kind.ROUTER,
            method=self.name,
            tensors={"score": self.router.scores()},
            threshold=threshold,
            made={
                "learning_rate": own.learning_rate,
                "penalty": self.penalty.weight,
                f"wanted_{wanted}": getattr(own, wanted),
                "is_threshold_moved": is_moved,
            },
            measured=measured,
            charts=(self._picture(threshold),),
            text=self._words(measured, threshold, is_moved),
        )

    def _cost_ratio(self, threshold: float) -> float:
        """Return the share of all work that the router does: by time where a speed is asked for, else by number."""
        return self.costs.ratio(self.router.computed(threshold))

    def _measured(self, threshold: float) -> dict[str, float]:
        """Return the refresh ratio and, where a speed is asked for, the cost ratio and the ideal speedup."""
        found = {"refresh_ratio": self.router.refresh_ratio(threshold)}
        if self.settings.speedup:
            ratio = self._cost_ratio(threshold)
            found |= {"cost_ratio": ratio, "ideal_speedup": self.costs.speedup_at(ratio)}
        return found

    def _picture(self, threshold: float) -> HeatMap:
        return HeatMap(
            title="Share of the fresh feature, sigmoid(score), by site and step",
            rows=[str(site) for site in self.sites],
            values=torch.sigmoid(self.router.scores()).T,
            marks=self.router.computed(threshold).T,
            legend=f"computed: above {threshold:.3g}",
        )

    def _words(self, measured: Mapping[str, float], threshold: float, is_moved: bool) -> str:
        own, wanted = self.settings, f"{self.wanted:.1%}"
        ratio, table = measured["refresh_ratio"], f"{self.lesson.num_steps} x {len(self.sites)}"
        lines = [f"computes {ratio:.1%} of {table} sites at threshold {threshold:.3g}"]
        if own.speedup:
            lines.append(
                f"these take {measured['cost_ratio']:.1%} of the sites' time, for an ideal speedup of "
                f"{measured['ideal_speedup']:.2f}x; {own.speedup:g}x was asked for"
            )
            wanted += " of the time"
        if is_moved:
            lines.append(
                f"the threshold was moved from {own.threshold:g} to meet {wanted}: more iterations or a higher learning rate "
                "would let the scores decide"
            )
        return "\n".join(lines)

"""Step list: a few full steps, spread over the noise levels; a forecast in between.

The lists that were searched for published models (BudCache, arXiv:2606.13496; DPCache; the Golden Path study,
arXiv:2609.39343) compute the first steps one after the other and leave ever longer gaps after them, and the study finds
that such a list, fixed for all prompts, does within a fraction of a decibel what adaptive schedules do. Here the list is
written out, or a rule places n = T / S full steps in a run of T steps for the wished speedup S. With t the share of noise, which in
flow models is sigma, and u = t / (2 - t), which is where a flow schedule of shift 2 has it, full step k lies nearest to

    u_k = u_0 - (u_0 - u_T) * k / (n - 1/2),   k = 0 ... n - 1

Along such a schedule predictions turn about evenly: at high noise, where the picture is laid out, a schedule of shift 1 has few
steps, and one of shift 3 more than the picture needs. The half leaves as much for the last full step to serve as for the others.

In a step that is left out each feature is what Newton's polynomial in sigma through the last computed ones says, held back
as `trust` tells: without guidance of order 2; with guidance a straight line, the less trusted the more noise it spans and the
stronger the guidance.

At level `model` the feature is the network's output and nothing of the network runs in a step that is left out. There,
with order 0 and Euler, the method is nothing else than sampling with the listed noise levels only: what the forecast
adds is what it has over fewer steps.

With samplers that call the network several times in a step all calls of a listed step are computed; those of one noise
level count as one. Noise that a sampler adds between steps keeps no direction: `measured` trust falls by itself there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from torch import Tensor

from ..artefact import Artefact, Kind
from ..errors import ConfigError
from ..forecasting import ForecastConfig, forecast
from ..ops.steps import LIST_FORM, even_steps, listed_steps, shifted_steps
from ..policy import POLICIES, Evidence, Policy, setting
from ..presets import INTENTS, measured_speedup, no_speedup
from ..step_schedule import check_schedule, scheduled_steps
from ..types import Action, Call, History, Level, Run, Site, Target

AUTO, BY_INTENT = "auto", 0.0


@dataclass(frozen=True, kw_only=True)
class StepListConfig(ForecastConfig):
    """Settings of a step list."""

    intent: Literal["quality", "balanced", "fast"] = setting(
        "balanced",
        "What the speedup is for. Each takes the largest one whose pictures were measured to stay near the uncached ones, for your "
        "kind of sampler and number of steps, without guidance or at cfg 4 (less is left out beyond that): at least "
        + ", ".join(
            f"{one.floor:g} dB and at most {one.most:g} times ('{name}')" for name, one in INTENTS.items()
        )
        + ". Every step is computed where no speedup does. A number in 'speedup' takes its place.",
        choices=tuple(INTENTS),
    )
    speedup: float = setting(
        BY_INTENT,
        "One step in so many is computed. 0 leaves it to 'intent'. 1 computes every step (the picture is then bit-identical to no "
        "node); 2 takes about half the time, 3 a third and changes the picture visibly.",
        minimum=0.0,
        maximum=20.0,
    )
    steps: str = setting(
        AUTO,
        "Which steps are computed, counted from 0: 'auto' spreads as many as the speedup leaves; or a list such as '0-3, 5, 8, 12, 16', "
        "which takes the place of 'intent' and of any 'speedup' but 1.",
        form=(rf"{AUTO}|{LIST_FORM}", f"'{AUTO}' or a list such as '0-3, 5, 8, 12, 16'"),
        advanced=True,
    )
    spread: Literal["shifted", "even"] = setting(
        "shifted",
        "How the computed steps are spread. 'shifted' follows the noise levels of a flow schedule of shift 2, whatever schedule you "
        "sample with; 'even' leaves equal gaps.",
        choices=("shifted", "even"),
        advanced=True,
    )
    level: Literal["model", "stack", "block", "module"] = setting(
        "model",
        "What is forecast. 'model' is the network's output (least memory, fastest); 'stack' the change over all blocks, 'block' each "
        "block's change, 'module' attention and MLP outputs of every block, which needs much memory.",
        choices=("model", "stack", "block", "module"),
        advanced=True,
    )
    schedule: Artefact | None = setting(
        None,
        "The list of computed steps, searched for this model by the node Feature Cache Schedule Search. Without one 'steps' says which.",
        kinds=(Kind.STEPS,),
        is_optional=True,
    )

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: With all offending fields at once, or where there are two lists.
        """
        super().__post_init__()
        if BY_INTENT < self.speedup < 1:
            raise ConfigError(
                f"'speedup' is {self.speedup:g}; expected 1 or more, or {BY_INTENT:g} to leave it to 'intent'. Change it."
            )
        if self.schedule is not None and self.steps != AUTO:
            raise ConfigError(
                f"'steps' is '{self.steps}' and there is the file {self.schedule}: one list is enough. Set 'steps' to '{AUTO}', or "
                "take the file away."
            )


@POLICIES.register
class StepList(Policy):
    """A list of full steps, forecast in sigma."""

    name = "step_list"
    title = "Step List"
    source = "arXiv:2609.39343, arXiv:2606.13496, arXiv:2503.06923"
    config_type = StepListConfig
    strictest: ClassVar[Mapping[str, Any]] = {"speedup": 1.0}
    loosest: ClassVar[Mapping[str, Any]] = {"speedup": 2.0}

    @property
    def level(self) -> Level:
        """Level of the sites the policy decides about."""
        return Level(self._settings.level)

    @property
    def memory(self) -> int:
        """As many snapshots as the forecast looks at."""
        return self._settings.memory

    def check_run(self, run: Run) -> tuple[str, ...]:
        """Return a note where a list names steps that the run has not, a file was made for something else, or nothing is left out."""
        settings = self._settings
        if settings.speedup == 1:
            return ()
        if settings.schedule is not None:
            names = ("order", "trust", "level", *(["speedup"] if settings.speedup else []))
            return check_schedule(settings.schedule, run, {name: getattr(settings, name) for name in names})
        if settings.steps == AUTO:
            return () if self._speedup(run) > 1 else (no_speedup(run, settings.intent),)
        beyond = [step for step in self.full_steps(run) if step >= run.num_steps]
        if not beyond:
            return ()
        note = (
            f"The step list names step {beyond[0]}, and this run has {run.num_steps} steps, counted from 0: it was written for "
            f"more. Set 'steps' to '{AUTO}', or write one for {run.num_steps}."
        )
        return (note,)

    def full_steps(self, run: Run) -> tuple[int, ...]:
        """Return the steps that are computed in `run`."""
        settings = self._settings
        if settings.speedup == 1:
            return tuple(range(run.num_steps))
        if settings.schedule is not None:
            return scheduled_steps(settings.schedule, run)
        if settings.steps != AUTO:
            return listed_steps(settings.steps)
        num_full = max(round(run.num_steps / self._speedup(run)), 1)
        if settings.spread == "even":
            return even_steps(run.num_steps, num_full)
        return shifted_steps([run.noise_at(sigma) for sigma in run.sigmas], num_full)

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return one action for all sites: whether the call's step is listed."""
        is_full = call.step in self.full_steps(call.run)
        return dict.fromkeys(evidence.sites, Action.COMPUTE if is_full else Action.REUSE)

    def estimate(self, history: History, target: Target) -> Tensor:
        """Return the forecast for the call's noise level."""
        return forecast(history, target, self._settings)

    def _speedup(self, run: Run) -> float:
        return self._settings.speedup or measured_speedup(run, self._settings.intent)

    @property
    def _settings(self) -> StepListConfig:
        return cast(StepListConfig, self.config)

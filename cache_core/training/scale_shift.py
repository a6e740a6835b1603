"""Trains Block Caching's scale-shift adjustment: how a reused residual is to be scaled and shifted, per channel and step.

Wimbauer et al. 2023, "Cache Me if You Can" (CVPR 2024, arXiv:2312.03209), section 3.3. The student follows the schedule of a
calibrated profile from pure noise through the real sampler; where it reuses a residual C it takes C * (1 + gamma) + beta instead,
which one linear layer per block makes from the embedded timestep. The teacher is the same network, uncached, at the student's
state; the weights are frozen. No image data. The paper prints neither loss nor rate; here the loss is the squared
difference of what every block hands on, relative to the teacher's size and averaged over blocks, streams and pictures, one
update per call by AdamW, and gamma = beta = 0 at first, so that training starts from plain reuse.

Ours where it differs: the timestep is embedded by the usual sines and cosines of sigma, so that it works for every family; and every
stream of a block, picture and text, has an adjustment of its own. The artefact holds gamma and beta as they come out at the
schedule's steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..artefact import Artefact, Kind
from ..blocks import Block, BlockAdapter
from ..chart import HeatMap
from ..errors import ConfigError
from ..ops.change import refresh_schedule
from ..policy import Config, setting
from ..types import Call, Lane, Level, Site
from .adjustment import Adjusted, Adjustment
from .gradients import leaves_of, writable
from .learner import Learner, averaged
from .memory import Holdings
from .method import TRAININGS, Lesson, Outcome, Training, teach
from .session import Computed
from .soundness import GradientCheck, require_sound
from .trajectory import Draw, Predict

SAME = 1e-3
"""Most that noise levels of the profile and of the training may differ by."""


@dataclass(frozen=True, kw_only=True)
class ScaleShiftConfig(Config):
    """Settings of the training of a scale-shift adjustment."""

    profile: Artefact | None = setting(
        None,
        "The change profile whose schedule is followed, from the node Feature Cache Calibrate.",
        kinds=(Kind.PROFILE,),
    )
    delta: float = setting(
        0.5,
        "The delta of Block Caching that you will use: it decides which blocks are reused when.",
        minimum=0.0,
        maximum=10.0,
    )
    learning_rate: float = setting(
        0.0001, "Step of every update.", minimum=0.000001, maximum=1.0, advanced=True
    )


class Outputs:
    """What the blocks of one evaluation hand on, by lane and name of the stream."""

    def __init__(self, adapter: BlockAdapter) -> None:
        """Begin without any."""
        self._adapter = adapter
        self.streams: dict[tuple[Lane, str], Tensor] = {}

    def see(self, lanes: Sequence[Lane], block: Block, output: Any) -> None:
        """Note a copy of what a block returns: the next one may write into it."""
        for name, stream in self._adapter.streams(block).left(output).items():
            for lane, part in zip(lanes, stream.chunk(len(lanes)), strict=True):
                self.streams[lane, f"{block}.{name}"] = part.clone()


@TRAININGS.register
class ScaleShiftTraining(Training):
    """A scale and a shift per block, stream, step and channel."""

    name = "scale_shift"
    title = "Block Caching's scale-shift adjustment"
    source = "arXiv:2312.03209"
    config_type: ClassVar[type[Config]] = ScaleShiftConfig
    level: ClassVar[Level] = Level.BLOCK

    def __init__(self, config: Config, lesson: Lesson) -> None:
        """Lay out an adjustment for every block that the schedule ever reuses.

        Raises:
            CacheError: If there is no profile, it is for another schedule, or nothing is ever reused.
        """
        super().__init__(config, lesson)
        assert isinstance(lesson.adapter, BlockAdapter)
        self.adapter = lesson.adapter
        own = cast(ScaleShiftConfig, config)
        self.profile = _usable(own, lesson)
        computed = refresh_schedule(self.profile.tensors["profile"], own.delta)
        computed[0] = True
        self.reused = [self.profile.sites_where(~row) for row in computed]
        ever = [site for site in self.sites if any(str(site) in step for step in self.reused)]
        if not ever:
            raise ConfigError(
                f"With 'delta' {own.delta} no block is ever reused, so there is nothing to adjust. Raise it."
            )
        streams = [f"{site}.{number}" for site in ever for number in range(_num_streams(self.adapter, site))]
        self.streams = tuple(streams)
        adjustment = Adjustment(streams, lesson.adapter.width)
        self.learner = Learner(adjustment, own.learning_rate, lesson.device, lesson.dtype)
        self.check = GradientCheck()
        self.ratio = float(computed.float().mean())

    def iterate(self, number: int) -> float:
        """Learn from every call of one sampling in which anything is reused."""
        prompt, seeds = self.lesson.draws.draw(number)
        sampling = Distilling(self)
        self.lesson.trajectory.sample(Draw(prompt=prompt, seeds=seeds), sampling.handle)
        return float(averaged(torch.stack(sampling.losses).mean()))

    def figures(self) -> Mapping[str, float]:
        """Return the refresh ratio, which training leaves as it is."""
        return {"refresh_ratio": self.ratio}

    def holdings(self) -> Holdings:
        """Return what both networks' blocks hand on, their differences in float32, and what is put in the place of blocks."""
        reused = min(len(step) for step in self.reused if step)
        outputs = 4 + torch.float32.itemsize / self.lesson.dtype.itemsize
        return Holdings(outputs=outputs, carrying=1 - reused / len(self.sites))

    def state(self) -> dict[str, Any]:
        """Return layers and optimiser."""
        return {"learner": self.learner.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self.learner.restore(state["learner"])

    def outcome(self) -> Outcome:
        """Return the profile with gamma and beta of every step beside it."""
        own = cast(ScaleShiftConfig, self.config)
        with torch.no_grad():
            made = [self.learner.module(sigma) for sigma in self.lesson.trajectory.run.sigmas[:-1]]
        tensors = dict(self.profile.tensors)
        for stream in made[0]:
            for place, part in enumerate(("scale", "shift")):
                tensors[f"{part}.{stream}"] = torch.stack(
                    [step[stream][place].float().cpu() for step in made]
                )
        return Outcome(
            kind=Kind.PROFILE,
            method="block_caching",
            tensors=tensors,
            made={
                "trained_delta": own.delta,
                "learning_rate": own.learning_rate,
                "profile": self.profile.name,
            },
            measured={"refresh_ratio": self.ratio},
            charts=(self._picture(tensors),),
            text=self._words(),
        )

    def _words(self) -> str:
        own = cast(ScaleShiftConfig, self.config)
        lines = [
            f"adjusts {len(self.streams)} streams of blocks; {self.ratio:.1%} of all blocks are computed at delta {own.delta:g}"
        ]
        theirs, ours = self.profile.sampling.sampler, self.lesson.trajectory.run.sampler
        if theirs and theirs != ours:
            lines.append(
                f"the profile was calibrated with the sampler '{theirs}', this was trained with '{ours}': its schedule may not fit"
            )
        return "\n".join(lines)

    def _picture(self, tensors: Mapping[str, Tensor]) -> HeatMap:
        streams = [name.removeprefix("scale.") for name in tensors if name.startswith("scale.")]
        return HeatMap(
            title="Mean size of the scale gamma, by stream and step",
            rows=streams,
            values=torch.stack([tensors[f"scale.{stream}"].abs().mean(dim=1) for stream in streams]),
        )


class Distilling:
    """The answers of one iteration: the sampler goes on with what the student predicts."""

    def __init__(self, training: ScaleShiftTraining) -> None:
        """Begin a sampling without any feature."""
        self._training = training
        self.session = training.lesson.session(training.level)
        self.losses: list[Tensor] = []

    def handle(self, call: Call, predict: Predict) -> Tensor:
        """Follow the schedule; learn where anything is reused."""
        reused = self._training.reused[call.step]
        if reused:
            prediction = self._learn(call, predict, reused)
        else:
            prediction = teach(self.session, call, Computed(), predict)
        self.session.commit()
        return prediction

    def _learn(self, call: Call, predict: Predict, reused: frozenset[str]) -> Tensor:
        """Make one update, and return what the student predicted before it."""
        training, truth = self._training, Outputs(self._training.adapter)
        with torch.no_grad():
            self.session.evaluate(call, Computed(), predict, truth.see)

        def student(gammas: Sequence[Tensor], betas: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            pairs = zip(gammas, betas, strict=True)
            adjusted = Adjusted(reused, dict(zip(training.streams, pairs, strict=True)))
            seen = Outputs(training.adapter)
            prediction = self.session.evaluate(call, adjusted, predict, seen.see)
            return prediction, relative_error(seen.streams, truth.streams)

        with torch.enable_grad(), writable():
            gammas, betas = zip(*training.learner.replica(call.sigma).values(), strict=True)
            leaves = leaves_of([*gammas, *betas])
            first, second = leaves[: len(gammas)], leaves[len(gammas) :]
            prediction, loss = student(first, second)
            require_sound(loss, call)
            slopes = training.learner.descend(loss, leaves, [*gammas, *betas])[: len(gammas)]
        if training.check.is_due:
            # Along the sign of every gamma's slope, as slopes of either sign would cancel each other.
            def error(nudge: float) -> Tensor:
                moved = [gamma + nudge * slope.sign() for gamma, slope in zip(first, slopes, strict=True)]
                with torch.no_grad():
                    return student(moved, second)[1]

            training.check.compare(float(sum(slope.abs().sum() for slope in slopes)), error)
        self.losses.append(loss.detach())
        return prediction.detach()


Streams = Mapping[tuple[Lane, str], Tensor]


def relative_error(student: Streams, teacher: Streams) -> Tensor:
    """Return the mean over streams and pictures of |student - teacher|^2 / |teacher|^2, () float32.

    Every picture counts the same, however many of them and of the guidance's branches one pass or one process carries.

    Args:
        student: (B, ...) of every lane and stream.
        teacher: The same of the plain network.
    """
    errors = [
        (ours.float() - teacher[key].float()).flatten(1).square().sum(dim=1)
        / teacher[key].float().flatten(1).square().sum(dim=1).clamp(min=1e-20)
        for key, ours in student.items()
    ]
    return torch.stack(errors).mean()


def _usable(own: ScaleShiftConfig, lesson: Lesson) -> Artefact:
    if own.profile is None:
        raise ConfigError(
            "'profile' is missing: the adjustment is trained for the schedule of a change profile. Make one with the node "
            "Feature Cache Calibrate, at the settings that you train with."
        )
    if own.profile.num_steps != lesson.num_steps:
        raise ConfigError(
            f"The profile {own.profile} is for {own.profile.sampling}, the training for {lesson.num_steps} steps. Calibrate "
            "at the settings that you train with."
        )
    levels = zip(own.profile.sampling.sigmas, lesson.trajectory.run.sigmas, strict=False)
    for step, (theirs, ours) in enumerate(levels):
        if not math.isclose(theirs, ours, rel_tol=SAME, abs_tol=SAME):
            raise ConfigError(
                f"The profile {own.profile} is for {own.profile.sampling}, with the noise level {theirs:.4g} in step {step}, where the "
                f"training has {ours:.4g}. Calibrate with the model, the scheduler and the size that you train with."
            )
    return own.profile


def _num_streams(adapter: BlockAdapter, site: Site) -> int:
    """Return how many streams leave a block."""
    block = next(b for b in adapter.blocks if (b.path, b.index) == (site.path, site.index))
    streams = adapter.streams(block)
    return len(streams.names) - len(streams.dropped)

"""Trains Block Caching's scale-shift adjustment: how a reused residual is to be scaled and shifted, per channel and step.

Wimbauer et al. 2023, "Cache Me if You Can" (CVPR 2024, arXiv:2312.03209), section 3.3. The student follows the schedule of a
calibrated profile from pure noise through the real sampler; where it reuses a residual C it takes C * (1 + gamma) + beta instead,
which one linear layer per block makes from the embedded timestep. The teacher is the same network, uncached, at the student's
state; the weights are frozen. No image data. The paper prints neither loss nor rate; here the loss is the squared
difference of what every block hands on, relative to the teacher's size and averaged over blocks and streams, one
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
from torch import Tensor, nn

from ..artefact import Artefact, Kind
from ..blocks import Block, BlockAdapter
from ..chart import HeatMap
from ..errors import CacheError, ConfigError
from ..ops.change import refresh_schedule
from ..policy import Config, setting
from ..types import Call, Feature, Level, Site
from .gradients import leaves_of, writable
from .learner import Learner, averaged
from .method import TRAININGS, Lesson, Outcome, Training, teach
from .session import Computed
from .trajectory import Draw, Predict

NUM_FREQUENCIES = 128
MAX_PERIOD = 10_000.0


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


class Adjustment(nn.Module):
    """Gamma and beta (D,) of every adjusted stream, by linear layers from the embedded noise level."""

    def __init__(self, streams: Sequence[str], width: int) -> None:
        """Begin with gamma = beta = 0 for `streams`, named `site.stream`."""
        super().__init__()
        self.index = {stream: number for number, stream in enumerate(streams)}
        self.layers = nn.ModuleList(nn.Linear(2 * NUM_FREQUENCIES, 2 * width) for _ in streams)
        for layer in self.layers:
            nn.init.zeros_(cast(nn.Linear, layer).weight)
            nn.init.zeros_(cast(nn.Linear, layer).bias)

    def forward(self, sigma: float) -> dict[str, tuple[Tensor, Tensor]]:
        """Return (gamma, beta), each (D,), of every stream at a noise level."""
        embedded = embed(sigma).to(cast(Tensor, next(self.parameters())).device)
        made = {stream: self.layers[number](embedded) for stream, number in self.index.items()}
        return {stream: tuple(both.chunk(2)) for stream, both in made.items()}


def embed(sigma: float) -> Tensor:
    """Return sines and cosines (2 * NUM_FREQUENCIES,) of 1000 * sigma, as timesteps are embedded."""
    rates = torch.exp(-math.log(MAX_PERIOD) * torch.arange(NUM_FREQUENCIES) / NUM_FREQUENCIES)
    angles = 1000.0 * sigma * rates
    return torch.cat((angles.cos(), angles.sin()))


class Adjusted:
    """Leaves out the sites of one step of the schedule, and adjusts what takes their place."""

    def __init__(self, reused: frozenset[str], adjustments: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Leave out `reused`, and take gamma and beta from `adjustments`."""
        self._reused, self._adjustments = reused, adjustments

    def is_reused(self, site: Site) -> bool:
        """Return whether the schedule leaves the site out."""
        return str(site) in self._reused

    def stand_in(self, site: Site, kept: Feature) -> Feature:
        """Return kept * (1 + gamma) + beta of every stream."""
        return tuple(self._adjust(f"{site}.{number}", old) for number, old in enumerate(kept))

    def settle(self, site: Site, fresh: Feature, kept: Feature | None) -> Feature:
        """Keep what was computed; of a site to be left out, the older one, adjusted."""
        return fresh if kept is None or not self.is_reused(site) else self.stand_in(site, kept)

    def _adjust(self, stream: str, old: Tensor) -> Tensor:
        gamma, beta = (part.to(old.dtype) for part in self._adjustments[stream])
        return beta + old * (1 + gamma)


class Outputs:
    """What the blocks of one evaluation hand on, by name of the stream."""

    def __init__(self, adapter: BlockAdapter) -> None:
        """Begin without any."""
        self._adapter = adapter
        self.streams: dict[str, Tensor] = {}

    def see(self, block: Block, output: Any) -> None:
        """Note a copy of what a block returns: the next one may write into it."""
        for name, stream in self._adapter.streams(block).left(output).items():
            self.streams[f"{block}.{name}"] = stream.clone()


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
        adjustment = Adjustment(streams, lesson.adapter.width)
        self.learner = Learner(adjustment, own.learning_rate, lesson.device, lesson.dtype)
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
            text=f"adjusts {len(made[0])} streams of blocks; {self.ratio:.1%} of all blocks are computed at delta {own.delta:g}",
        )

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
        training, session = self._training, self.session
        reused = training.reused[call.step]
        if not reused:
            prediction = teach(session, call, Computed(), predict)
            session.commit()
            return prediction
        truth, student = Outputs(training.adapter), Outputs(training.adapter)
        with torch.no_grad():
            session.evaluate(call, Computed(), predict, truth.see)
        with torch.enable_grad(), writable():
            made = training.learner.replica(call.sigma)
            sources = [part for both in made.values() for part in both]
            leaves = leaves_of(sources)
            adjustments = dict(zip(made, zip(leaves[::2], leaves[1::2], strict=True), strict=True))
            prediction = session.evaluate(call, Adjusted(reused, adjustments), predict, student.see)
            loss = relative_error(student.streams, truth.streams)
            self._require_sound(loss, call)
            training.learner.descend(loss, leaves, sources)
        session.commit()
        self.losses.append(loss.detach())
        return prediction.detach()

    def _require_sound(self, loss: Tensor, call: Call) -> None:
        if not bool(loss.isfinite()):
            raise CacheError(
                f"The loss of step {call.step} is {float(loss.detach())}. The model gives infinite or undefined numbers at these "
                "settings: check that it samples well without training, or lower 'learning_rate'."
            )


def relative_error(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Return the mean over streams of |student - teacher|^2 / |teacher|^2, () float32; both by name of the stream."""
    errors = [
        (ours.float() - teacher[name].float()).square().sum()
        / teacher[name].float().square().sum().clamp(min=1e-20)
        for name, ours in student.items()
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
    return own.profile


def _num_streams(adapter: BlockAdapter, site: Site) -> int:
    """Return how many streams leave a block."""
    block = next(b for b in adapter.blocks if (b.path, b.index) == (site.path, site.index))
    streams = adapter.streams(block)
    return len(streams.names) - len(streams.dropped)

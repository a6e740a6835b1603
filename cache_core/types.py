"""The words of the project as types: levels, sites, lanes, calls, features."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable
from dataclasses import dataclass, field
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


class Indicator(str, Enum):
    """What a dynamic schedule may look at inside the network before it decides about a call."""

    NETWORK_INPUT = "network_input"
    """The noisy latent as the network gets it."""
    TIMESTEP_EMBEDDING = "timestep_embedding"
    """The embedded timestep, before anything else is added to it."""
    MODULATED_INPUT = "modulated_input"
    """The first block's image tokens, normed, scaled and shifted as its attention sees them (TeaCache)."""
    FIRST_RESIDUAL = "first_residual"
    """What the first block adds to the image tokens; that block is then always computed (First-Block Cache)."""


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


MODEL_SITE = Site(level=Level.MODEL, path="network", index=0, part="output")
"""The output of the whole network, which every family has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One stream of calls that see the same thing, so that a feature of one may stand in for the next.

    Attributes:
        branch: Identity of the conditioning chunk, given by the host; never its place in the call order.
        variant: What else changes the network's function: patches, context window, the network itself.
        shape: Shape of the branch's network input.
        dtype: Data type of the network input.
        device: Device of the network input.
        role: Which of the guider's prompts the branch belongs to: 0 the prompt, 1 the negative one.
        weights: What another node lays over the network's weights at this moment. Not part of the identity: when it
            changes, what was kept of the lane is outdated.
    """

    branch: Hashable
    variant: Hashable
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    role: int = 0
    weights: Hashable = field(default=(), compare=False)


class SamplerClass(str, Enum):
    """How a sampler uses predictions, which decides what a forecast among them does.

    Of the first order each prediction makes one step; a multistep sampler also uses the earlier ones; others make several calls
    in a step, or add new noise. Unknown where predictions of one step are known to be amplified in the next, too.
    """

    FIRST_ORDER = "first order"
    MULTISTEP = "multistep"
    SEVERAL_CALLS = "several calls"
    NEW_NOISE = "new noise"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known about a sampling run before its first call.

    Attributes:
        sigmas: The schedule, noisiest first; one more entry than there are steps.
        sampler: Name of the sampler, for the report.
        sampler_class: How it uses predictions.
        call_steps: The step of each call the sampler will make, or None where that is not known beforehand.
        call_sigmas: Noise level of each of those calls where the schedule says it; empty where only the call itself does.
        flow: Whether sigma mixes picture and noise, x = (1 - sigma) * x0 + sigma * noise, as in Flux and SD3; else
            it is the noise added to the picture, which the network sees scaled to unit variance, as in PixArt.
        reuse_from: Highest sigma at which anything may be reused.
        reuse_to: Lowest sigma at which anything may be reused.
        cfg: Guidance scale, or None where that is not known.
        size: Width and height of the picture in pixels, or None where that is not known.
    """

    sigmas: tuple[float, ...]
    sampler: str = "unknown"
    sampler_class: SamplerClass = SamplerClass.UNKNOWN
    call_steps: tuple[int, ...] | None = None
    call_sigmas: tuple[float, ...] = ()
    flow: bool = True
    reuse_from: float = math.inf
    reuse_to: float = -math.inf
    cfg: float | None = None
    size: tuple[int, int] | None = None

    @property
    def num_steps(self) -> int:
        """Number of steps of the schedule."""
        return max(len(self.sigmas) - 1, 0)

    @property
    def noise(self) -> tuple[float, ...]:
        """Share of noise at each step, 1 where nothing but noise is left: sigma in flow models, sigma / (1 + sigma) in others."""
        return tuple(self.noise_at(sigma) for sigma in self.sigmas[:-1])

    def noise_at(self, sigma: float) -> float:
        """Return the share of noise at a noise level."""
        return sigma if self.flow else sigma / (1 + sigma)

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
    def may_reuse(self) -> bool:
        """Whether the call lies where the run allows reuse; else it computes everything."""
        return self.run.reuse_to <= self.sigma <= self.run.reuse_from

    @property
    def remaining(self) -> int | None:
        """How many calls follow this one, or None where the sampler does not say."""
        return None if self.run.num_calls is None else self.run.num_calls - 1 - self.index

    @property
    def noise(self) -> float:
        """Share of noise in what the network sees, see `Run.noise`."""
        return self.run.noise_at(self.sigma)

    @property
    def mixing(self) -> tuple[float, float]:
        """The shares (a, b) of picture and noise in what the network sees: x = a * x0 + b * noise."""
        if self.run.flow:
            return 1.0 - self.sigma, self.sigma
        scale = math.hypot(1.0, self.sigma)
        return 1.0 / scale, self.sigma / scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One stored tensor and the call that made it. The store owns `value`; read it, never write it."""

    call: Call
    value: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An indicator as one branch showed it in one call. Lent: read `value`, never write it.

    Attributes:
        call: The call.
        value: The indicator: (B, N, D) tokens, (B, D) embedding or (B, C, H, W) latent.
        grid: Rows and columns (h, w) of the picture's tokens, which are the first h * w of N.
    """

    call: Call
    value: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is remembered of a past call for later decisions.

    Attributes:
        call: The call.
        value: The indicator's change as the policy measured it; None where there was nothing finite to measure.
        computed: Whether nothing was reused in the call.
    """

    call: Call
    value: float | None
    computed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an estimate stands in for.

    Attributes:
        call: The call in which it is needed.
        site: The site whose feature it replaces.
        stream: Which of the feature's tensors, counted from 0.
        role: Role of the lane.
    """

    call: Call
    site: Site
    stream: int
    role: int = 0


History = tuple[Snapshot, ...]
"""Snapshots of one stream of one site in one lane, oldest first."""

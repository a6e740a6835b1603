"""Block Caching: every block is computed again once its residual has changed by delta, as calibrated beforehand.

Wimbauer et al. 2023, "Cache Me if You Can: Accelerating Diffusion Models through Block Caching" (CVPR 2024,
arXiv:2312.03209), section 3. A block is its input plus a residual C; C is kept. Calibration gives the mean
relative change of every block's C from step to step; a block is reused while the changes since it was computed add up
to at most delta, so that each block has its own schedule (`ops.change.refresh_schedule`). The first step is full.
The paper's notation leaves open, and here is settled: a step's change is the one from the step before it, relative to the
newer residual; and all streams of a block, picture and text, are one residual. So a block last computed in step a is reused
in step b while

    d_(a+1) + ... + d_b <= delta,    d_i = mean over uncached runs of |C_i - C_(i-1)|_1 / |C_i|_1.

Scale-shift adjustment (section 3.3): what stands in for C in step b is

    C_a * (1 + gamma_b) + beta_b,

with gamma and beta per block, step and channel, trained beforehand. An artefact may carry them as `scale.<site>.<stream>` and
`shift.<site>.<stream>`, each (T, D); a stream without them is reused as it is. The paper makes them with a linear layer
from the embedded timestep; what that gives at the steps of a schedule is what the artefact holds.

A profile belongs to one network, number of steps and sampler. For another number of steps each step follows the step
with the nearest noise level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor

from ..artefact import Artefact, Kind
from ..errors import ArtefactError
from ..mapping import check_run, nearest_row
from ..ops.change import refresh_schedule
from ..policy import POLICIES, Config, Evidence, Policy, setting
from ..types import Action, Call, History, Level, Run, Site, Target


@dataclass(frozen=True, kw_only=True)
class BlockCachingConfig(Config):
    """Settings of Block Caching."""

    profile: Artefact | None = setting(
        None,
        "The change profile: how much every block changes in every step, from the node Feature Cache Calibrate. Without one "
        "everything is computed.",
        kinds=(Kind.PROFILE,),
    )
    delta: float = setting(
        0.5,
        "The change, relative to its size and added up over steps, up to which a block's residual is reused. 0 computes "
        "everything (the picture is then bit-identical to no node); raising it reuses more. The paper uses 0.5; the "
        "calibration tells which delta reuses 25, 50 and 75 %.",
        minimum=0.0,
        maximum=10.0,
    )


@POLICIES.register
class BlockCaching(Policy):
    """A schedule per block from its calibrated change; last value, scaled and shifted where that was trained."""

    name = "block_caching"
    title = "Block Caching"
    source = "arXiv:2312.03209"
    config_type = BlockCachingConfig
    strictest: ClassVar[Mapping[str, Any]] = {"delta": 0.0}

    def __init__(self, config: Config) -> None:
        """Derive the schedule from the configuration.

        Raises:
            ArtefactError: If the profile is of another level, or its scale-shift tensors fit no site.
        """
        super().__init__(config)
        profile = self._settings.profile
        if profile is not None:
            _check(profile)
            self._compute = refresh_schedule(profile.tensors["profile"], self._settings.delta)

    @property
    def level(self) -> Level:
        """The residual of every block, as published."""
        return Level.BLOCK

    def check_run(self, run: Run) -> tuple[str, ...]:
        """Return how the profile's steps and the run's differ, and whether its adjustment was trained for another delta."""
        profile = self._settings.profile
        if profile is None:
            return ()
        trained = profile.made.get("trained_delta")
        if trained in (None, self._settings.delta):
            return check_run(profile, run)
        note = f"The scale-shift adjustment of {profile} was trained at delta {trained}, not {self._settings.delta}."
        return (note, *check_run(profile, run))

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return the schedule's choice; in the first step everything is computed."""
        profile = self._settings.profile
        if profile is None or call.step == 0:
            return dict.fromkeys(evidence.sites, Action.COMPUTE)
        computed = profile.sites_where(self._compute[self._row(profile, call)])
        return {site: Action.COMPUTE if str(site) in computed else Action.REUSE for site in evidence.sites}

    def estimate(self, history: History, target: Target) -> Tensor:
        """Return the newest residual (B, N, D), scaled and shifted per channel where that was trained."""
        profile, last = self._settings.profile, history[-1].value
        name = f"{target.site}.{target.stream}"
        if profile is None or f"scale.{name}" not in profile.tensors:
            return super().estimate(history, target)
        row = self._row(profile, target.call)
        gamma, beta = (profile.tensors[f"{part}.{name}"][row].to(last) for part in ("scale", "shift"))
        return beta + last * (1 + gamma)

    @property
    def _settings(self) -> BlockCachingConfig:
        return cast(BlockCachingConfig, self.config)

    @staticmethod
    def _row(profile: Artefact, call: Call) -> int:
        return nearest_row(profile.sampling, call.run, call.step, range(profile.num_steps))


def _check(profile: Artefact) -> None:
    """Refuse a profile of other sites than blocks, and an adjustment that would never or wrongly be applied."""
    network, found = profile.architecture, []
    if network.level is not Level.BLOCK:
        found.append(f"it names sites at level '{network.level.value}', expected 'block'")
    for name, tensor in profile.tensors.items():
        part, _, place = name.partition(".")
        if part not in ("scale", "shift"):
            continue
        other = f"{'shift' if part == 'scale' else 'scale'}.{place}"
        if place.rpartition(".")[0] not in network.sites:
            found.append(f"tensor '{name}' names no site")
        if other not in profile.tensors:
            found.append(f"tensor '{other}' is missing beside '{name}'")
        if tensor.shape[1:] != (network.hidden_size,):
            found.append(
                f"tensor '{name}' has shape {tuple(tensor.shape)}, expected (steps, {network.hidden_size})"
            )
    if found:
        raise ArtefactError(
            f"The artefact {profile} is no change profile for Block Caching: {'; '.join(found)}. "
            "Make one with the node Feature Cache Calibrate."
        )

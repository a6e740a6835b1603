"""The change profile of Block Caching: how much the residual of every block changes from step to step.

Wimbauer et al. 2023, "Cache Me if You Can: Accelerating Diffusion Models through Block Caching" (CVPR 2024,
arXiv:2312.03209), section 3.2. There a profile is the mean over 32 prompts with two seeds each. Here it is the
mean over all runs, pictures and branches (with and without the prompt), so that one schedule serves all. A step with
several calls, as Heun's, has the changes of all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ..artefact import Artefact, Kind
from ..chart import HeatMap
from ..errors import CacheError
from ..ops.change import change_ratio, delta_for_reuse, refresh_schedule
from ..policy import Config, setting
from ..probe import CALIBRATIONS, Calibration, Findings, Sample, Subject
from ..types import Level

REUSED = (0.25, 0.5, 0.75)
"""Shares of reuse whose delta is told."""

Place = tuple[int, str]
"""Step and site."""


@dataclass(frozen=True, kw_only=True)
class ChangeProfileConfig(Config):
    """Settings of the change profile."""

    delta: float = setting(
        0.5,
        "The delta whose schedule the picture shows. It is not saved: set it in the Feature Cache node. The paper uses 0.5.",
        minimum=0.0,
        maximum=10.0,
    )


@CALIBRATIONS.register
class ChangeProfile(Calibration):
    """Mean relative change of every block's residual, step by step."""

    name = "block_caching"
    title = "Block Caching's change profile"
    config_type = ChangeProfileConfig

    def __init__(self, config: Config) -> None:
        """Start with nothing seen."""
        super().__init__(config)
        self._run: dict[Place, Tensor] = {}
        self._sums: dict[Place, float] = defaultdict(float)
        self._counts: dict[Place, int] = defaultdict(int)
        self._calls: dict[int, int] = {}

    @property
    def level(self) -> Level:
        """Residuals of blocks."""
        return Level.BLOCK

    def see(self, sample: Sample) -> None:
        """Add the change of a feature since the last call of its lane."""
        self._calls[sample.call.index] = sample.call.step
        if sample.previous is None:
            return
        place = sample.call.step, str(sample.site)
        change = change_ratio(sample.feature, sample.previous)
        self._counts[place] += len(change)
        self._run[place] = self._run[place] + change.sum() if place in self._run else change.sum()

    def close_run(self) -> None:
        """Read the sums of the run, one transfer per device."""
        by_device = defaultdict(list)
        for place, total in self._run.items():
            by_device[total.device].append(place)
        for places in by_device.values():
            for place, total in zip(
                places, torch.stack([self._run[p] for p in places]).tolist(), strict=True
            ):
                self._sums[place] += total
        self._run.clear()

    def findings(self, subject: Subject) -> Findings:
        """Return the profile, its picture, and what which delta will reuse.

        Raises:
            CacheError: If a block's change is not known at every step.
        """
        assert subject.sampling.num_steps is not None
        profile = self._profile(subject.architecture.sites, subject.sampling.num_steps)
        shown = cast(ChangeProfileConfig, self.config).delta
        return Findings(
            artefact=Artefact(
                kind=Kind.PROFILE,
                method="block_caching",
                architecture=subject.architecture,
                sampling=subject.sampling,
                tensors={"profile": profile},
                made=subject.made,
                measured={
                    f"delta_at_reuse_{share:g}": delta for share, delta in self._deltas(profile).items()
                },
            ),
            charts=(_picture(subject.architecture.sites, profile, shown),),
            text=self._text(profile, shown),
        )

    def _profile(self, sites: tuple[str, ...], num_steps: int) -> Tensor:
        """Return (T, S): the mean change of a call, times the calls of the step; zero in step 0."""
        steps = list(self._calls.values())
        rows = [[0.0] * len(sites)]
        for step in range(1, num_steps):
            rows.append([self._mean(step, site) * steps.count(step) for site in sites])
        profile = torch.tensor(rows)
        if not bool(profile.isfinite().all()):
            raise CacheError(
                "The calibration met features that are infinite or undefined, so their change means nothing. Look at the "
                "pictures that this MODEL makes uncached; try another data type or sampler."
            )
        return profile

    def _mean(self, step: int, site: str) -> float:
        if not self._counts[step, site]:
            raise CacheError(
                f"The calibration saw no change of '{site}' in step {step}: the branches of the prompt could not be told "
                "apart, or none lasted from one step to the next. Use plain prompts for calibrating."
            )
        return self._sums[step, site] / self._counts[step, site]

    def _deltas(self, profile: Tensor) -> Mapping[float, float]:
        """Return by share of reuse the delta that gives it, for those that any delta can give."""
        steps = list(self._calls.values())
        most = 1 - steps.count(0) / len(steps)
        return {share: delta_for_reuse(profile, share, steps) for share in REUSED if share <= most}

    def _text(self, profile: Tensor, delta: float) -> str:
        computed = refresh_schedule(profile, delta)[list(self._calls.values())].double().mean()
        lines = [
            f"delta {delta:g} computes {computed:.1%} of all block evaluations (refresh ratio {computed:.3f})"
        ]
        lines += [f"delta {found:.4g} reuses {share:.0%}" for share, found in self._deltas(profile).items()]
        return "\n".join(lines)


def _picture(sites: tuple[str, ...], profile: Tensor, delta: float) -> HeatMap:
    return HeatMap(
        title=f"Relative change of each block's residual per step; schedule at delta {delta:g}",
        rows=sites,
        values=profile.T,
        marks=refresh_schedule(profile, delta).T,
        legend="computed",
    )

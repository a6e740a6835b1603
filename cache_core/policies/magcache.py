"""MagCache: skip while the residual's magnitude, known from a run before, has not drifted far.

Ma et al. 2025, "MagCache: Fast Video Generation with Magnitude-Aware Cache" (arXiv:2506.09045), Zehong-Ma/MagCache and its
ComfyUI port. The ratio g_i = mean over tokens of |r_i| / |r_(i-1)| of the residual over all blocks hardly depends on the
prompt. Since the last computed step, at n steps from it,

    G = g_(i-n+1) * ... * g_i,    E = sum over those steps of |1 - G|,

and step i is skipped while E < threshold, n <= max_consecutive and i >= retention * T. What is reused is the residual as it was,
not rescaled by G. Ratios of another number of steps are taken at the nearest place.

The ratios belong to a model; published are those of Flux.1-dev and Kontext. The port for Flux also never skips the eleventh
step of 28; that is left out here. The first step is always computed; the last is not forced, as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from ..artefact import Artefact, Kind
from ..ops.magnitude_ratios import PUBLISHED_RATIOS, resampled
from ..policy import POLICIES, Config, Evidence, Policy, setting
from ..types import Action, Call, Level, Run, Site


@dataclass(frozen=True, kw_only=True)
class MagCacheConfig(Config):
    """Settings of MagCache."""

    threshold: float = setting(
        0.24,
        "Skip while the summed drift of the residual's magnitude stays below this. 0 computes everything (the picture is then "
        "bit-identical to no node); raising it skips more. 0.24 is the authors' for Flux.1 dev, 0.05 for Kontext.",
        minimum=0.0,
        maximum=10.0,
    )
    retention: float = setting(
        0.1,
        "The share of steps at the beginning that is always computed.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    max_consecutive: int = setting(
        5, "Skip at most so many steps one after the other.", minimum=1, maximum=1000, advanced=True
    )
    ratios: str = setting(
        "flux.1-dev",
        "The published ratios, by model. On another model they say little: measure its own.",
        choices=tuple(PUBLISHED_RATIOS),
    )
    measured: Artefact | None = setting(
        None,
        "Ratios that were measured on this model; they take the place of 'ratios'.",
        kinds=(Kind.RATIOS,),
    )


@POLICIES.register
class MagCache(Policy):
    """Accumulated drift of the residual's magnitude from a table, residual over all blocks, last value."""

    name = "magcache"
    title = "MagCache"
    source = "arXiv:2506.09045, github.com/Zehong-Ma/MagCache"
    config_type = MagCacheConfig
    strictest: ClassVar[Mapping[str, Any]] = {"threshold": 0.0}
    loosest: ClassVar[Mapping[str, Any]] = {"threshold": 10.0, "max_consecutive": 2}

    @property
    def level(self) -> Level:
        """The residual over all blocks, as published."""
        return Level.STACK

    def describe(self) -> str:
        """Return the settings and whose ratios are used."""
        settings = self._settings
        chosen = settings.ratios if settings.measured is None else settings.measured
        return (
            f"threshold={settings.threshold}, retention={settings.retention}, "
            f"max_consecutive={settings.max_consecutive}, ratios={chosen}"
        )

    def full_steps(self, run: Run) -> frozenset[int]:
        """Return the steps that the table has computed in `run`, those outside its window among them."""
        settings, ratios = self._settings, self._ratios(run.num_steps)
        full, gain, drift, num_skipped = {0}, 1.0, 0.0, 0
        for step in range(1, run.num_steps):
            gain *= ratios[step]
            drift, num_skipped = drift + abs(1.0 - gain), num_skipped + 1
            skips = (
                drift < settings.threshold
                and num_skipped <= settings.max_consecutive
                and step >= settings.retention * run.num_steps
                and run.reuse_to <= run.sigmas[step] <= run.reuse_from
            )
            if not skips:
                full.add(step)
                gain, drift, num_skipped = 1.0, 0.0, 0
        return frozenset(full)

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return one action for all sites: whether the table says so for the call's step."""
        action = Action.COMPUTE if call.step in self.full_steps(call.run) else Action.REUSE
        return dict.fromkeys(evidence.sites, action)

    def _ratios(self, num_steps: int) -> tuple[float, ...]:
        measured = self._settings.measured
        if measured is None:
            return resampled(PUBLISHED_RATIOS[self._settings.ratios], num_steps)
        return resampled(measured.tensors["ratios"].tolist(), num_steps)

    @property
    def _settings(self) -> MagCacheConfig:
        return cast(MagCacheConfig, self.config)

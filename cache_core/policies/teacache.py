"""TeaCache: skip all blocks while the modulated input, rescaled to the output's change, has hardly changed.

Liu et al. 2024, "Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model" (CVPR 2025,
arXiv:2411.19108), ali-vilab/TeaCache, and welltop-cn/ComfyUI-TeaCache. With m_i the first block's modulated input in call i,
skipped calls too, a polynomial P that was fitted once per model estimates how much the output has changed. Call n is skipped
while, since the last computed call c,

    |P(d_(c+1))| + ... + |P(d_n)| < threshold,    d_i = mean |m_i - m_(i-1)| / mean |m_(i-1)|.

Then the residual over all blocks is taken from call c and added to the image tokens of now. The first and the last call are
computed.

The paper adds P(d), the ComfyUI node |P(d)|. Here it is |P(d)|: where P is positive, as it should be wherever it was fitted, the
two are one; elsewhere a sum that falls would skip the more the more has changed, and threshold 0 would not be strict.
Polynomials belong to a model. Without one d itself adds up (`identity`), and thresholds mean something else: 0.1 to
0.3 then. The ComfyUI node decides per branch and skips where all agree; here the first branch decides for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from ..artefact import Artefact, Kind
from ..ops.accumulation import accumulated, is_first_or_last
from ..ops.polynomials import evaluate_within
from ..ops.teacache_coefficients import IDENTITY, PUBLISHED
from ..policy import POLICIES, Config, Evidence, Policy, setting
from ..types import Action, Call, Indicator, Level, Run, Site


@dataclass(frozen=True, kw_only=True)
class TeaCacheConfig(Config):
    """Settings of TeaCache."""

    threshold: float = setting(
        0.25,
        "Skip while the estimated change of the output since the last computed call stays below this. 0 computes everything "
        "(the picture is then bit-identical to no node); raising it skips more. With the polynomial of Flux.1 dev 0.25 is 1.5 "
        "times as fast, 0.4 1.8 times; without a polynomial begin at 0.1.",
        minimum=0.0,
        maximum=10.0,
    )
    coefficients: str = setting(
        IDENTITY,
        "The published polynomial, by model. 'identity' takes the change as it is.",
        choices=tuple(PUBLISHED),
    )
    fitted: Artefact | None = setting(
        None,
        "A polynomial that was fitted to this model; it takes the place of 'coefficients'.",
        kinds=(Kind.COEFFICIENTS,),
    )


@POLICIES.register
class TeaCache(Policy):
    """Accumulated change of the modulated input, residual over all blocks, last value."""

    name = "teacache"
    title = "TeaCache"
    source = "arXiv:2411.19108, github.com/ali-vilab/TeaCache"
    config_type = TeaCacheConfig
    strictest: ClassVar[Mapping[str, Any]] = {"threshold": 0.0}
    loosest: ClassVar[Mapping[str, Any]] = {"threshold": 10.0}

    @property
    def level(self) -> Level:
        """The residual over all blocks, as published."""
        return Level.STACK

    @property
    def indicator(self) -> Indicator | None:
        """The first block's modulated input."""
        return Indicator.MODULATED_INPUT

    def describe(self) -> str:
        """Return threshold and polynomial, by the name of one or the other."""
        settings = self._settings
        chosen = settings.coefficients if settings.fitted is None else settings.fitted
        note = " (not calibrated for this model)" if chosen == IDENTITY else ""
        return f"threshold={settings.threshold}, coefficients={chosen}{note}"

    def check_run(self, run: Run) -> tuple[str, ...]:
        """Return a note where a fitted polynomial meets another number of steps, whose changes are larger or smaller."""
        fitted = self._settings.fitted
        if fitted is None or fitted.sampling.num_steps in (None, run.num_steps):
            return ()
        note = (
            f"{fitted} was fitted with {fitted.sampling}; this run has {run.num_steps} steps. Changes outside of the range that "
            "was seen then are rescaled in proportion. Calibrate with this number of steps to be sure."
        )
        return (note,)

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return one action for all sites: whether the rescaled changes have reached the threshold."""
        assert evidence.observed is not None
        change = accumulated(evidence.observed, evidence.trace, self.rescale)
        skips = change < self._settings.threshold and not is_first_or_last(call)
        return dict.fromkeys(evidence.sites, Action.REUSE if skips else Action.COMPUTE)

    def rescale(self, change: float) -> float:
        """Return |P(d)|, the estimated change of the output, for a change d of the indicator; both dimensionless."""
        fitted = self._settings.fitted
        if fitted is None:
            return abs(evaluate_within(PUBLISHED[self._settings.coefficients].coefficients, change))
        coefficients = fitted.tensors["coefficients"].tolist()
        low, high = fitted.measured.get("low", 0.0), fitted.measured.get("high", math.inf)
        return abs(evaluate_within(coefficients, change, low, high))

    @property
    def _settings(self) -> TeaCacheConfig:
        return cast(TeaCacheConfig, self.config)

"""SeaCache: TeaCache's schedule on an indicator that is filtered to what the network can see through the noise.

Chung et al. 2026, "SeaCache: Spectral-Evolution-Aware Cache for Accelerating Diffusion Models" (CVPR 2026,
arXiv:2602.18993), and the repository jiwoogit/SeaCache. The picture x0 is seen as x = a * x0 + b * noise.
Early its fine detail drowns in noise, and changes there say nothing about the output. So the modulated input of the
first block, laid out as an image, passes a Wiener filter for its own call's a and b: per axis and frequency f

    S = 1 / f^beta,  G = a * S / (a^2 * S + b^2),

the gain is the product over both axes, divided by its mean. The relative L1 distance between the filtered inputs of
consecutive calls adds up since the last computed call, without any polynomial, so no calibration is needed; below the
threshold the residual over all blocks is reused. The first and the last call are computed.

The reference script leaves the first call's indicator unfiltered; here it is filtered like every other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor

from ..ops.accumulation import accumulated, is_first_or_last
from ..ops.filters import wiener_filtered
from ..ops.indicators import relative_l1
from ..policy import POLICIES, Config, Evidence, Policy, setting
from ..types import Action, Call, Indicator, Level, Reading, Site

MARGIN = 1e-6
"""How far both shares stay from 0, as in the published code."""


@dataclass(frozen=True, kw_only=True)
class SeaCacheConfig(Config):
    """Settings of SeaCache."""

    threshold: float = setting(
        0.3,
        "Skip while the filtered change since the last computed call stays below this. 0 computes everything (the picture is "
        "then bit-identical to no node); raising it skips more: on Flux.1 dev 0.3 is about twice as fast, 0.6 three times.",
        minimum=0.0,
        maximum=10.0,
    )
    beta: float = setting(
        2.0,
        "How fast the spectrum of pictures is taken to fall: power 1 / f^beta. 2 for pictures, 3 for video; 0 filters nothing.",
        minimum=0.0,
        maximum=4.0,
        advanced=True,
    )


@POLICIES.register
class SeaCache(Policy):
    """Accumulated change of the Wiener-filtered modulated input, residual over all blocks, last value."""

    name = "seacache"
    title = "SeaCache"
    source = "arXiv:2602.18993, github.com/jiwoogit/SeaCache"
    config_type = SeaCacheConfig
    strictest: ClassVar[Mapping[str, Any]] = {"threshold": 0.0}
    loosest: ClassVar[Mapping[str, Any]] = {"threshold": 10.0}

    @property
    def level(self) -> Level:
        """The residual over all blocks, as published."""
        return Level.STACK

    @property
    def indicator(self) -> Indicator | None:
        """The first block's modulated input, before the filter."""
        return Indicator.MODULATED_INPUT

    def measure(self, current: Reading, previous: Reading) -> Tensor:
        """Return the relative L1 distance () between both inputs, each filtered for its own call."""
        return relative_l1(self._filtered(current), self._filtered(previous))

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return one action for all sites: whether the changes have reached the threshold."""
        assert evidence.observed is not None
        change = accumulated(evidence.observed, evidence.trace)
        skips = change < self._settings.threshold and not is_first_or_last(call)
        return dict.fromkeys(evidence.sites, Action.REUSE if skips else Action.COMPUTE)

    def _filtered(self, reading: Reading) -> Tensor:
        a, b = (min(max(share, MARGIN), 1.0 - MARGIN) for share in reading.call.mixing)
        return wiener_filtered(reading.value, reading.grid, (a, b), self._settings.beta)

    @property
    def _settings(self) -> SeaCacheConfig:
        return cast(SeaCacheConfig, self.config)

"""First Block Cache: run the first block; where its residual has hardly changed, take what the others added last time.

ParaAttention (chengzeyi/ParaAttention, `first_block_cache`), Comfy-WaveSpeed, and cache-dit's DBCache with one block in front
and none behind (vipshop/cache-dit, F1B0). With r the first block's residual of the image tokens, now and in the last computed
call,

    d = mean |r_then - r_now| / mean |r_then|,

and below the threshold the blocks after the first are skipped. Changes do not add up, because r_then stays that of the last
computed call. The residual over the blocks after the first is reused, of image and text as the family has them.

DBCache's `warmup` computes the first steps whatever d is, and its `max_consecutive` ends a series of skipped calls; both
are off as in ParaAttention. Thresholds of 0.06 to 0.12 are usual on Flux.1-dev at 28 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar, cast

from ..policy import POLICIES, Config, Evidence, Policy, Since, setting
from ..types import Action, Call, Indicator, Level, Site


@dataclass(frozen=True, kw_only=True)
class FirstBlockConfig(Config):
    """Settings of First Block Cache."""

    threshold: float = setting(
        0.08,
        "Skip while the first block's residual differs from that of the last computed call by less than this. 0 computes everything "
        "(the picture is then bit-identical to no node); raising it skips more: on Flux.1 dev 0.08 is about 1.5 times as fast.",
        minimum=0.0,
        maximum=10.0,
    )
    warmup: int = setting(
        0,
        "Compute the first so many steps in any case.",
        minimum=0,
        maximum=1000,
        advanced=True,
    )
    max_consecutive: int = setting(
        1000,
        "Skip at most so many calls one after the other.",
        minimum=1,
        maximum=1000,
        advanced=True,
    )


@POLICIES.register
class FirstBlock(Policy):
    """Change of the first block's residual since the last computed call, residual over the other blocks, last value."""

    name = "first_block"
    title = "First Block Cache"
    source = "github.com/chengzeyi/ParaAttention, github.com/vipshop/cache-dit"
    config_type = FirstBlockConfig
    strictest: ClassVar[Mapping[str, Any]] = {"threshold": 0.0}
    loosest: ClassVar[Mapping[str, Any]] = {"threshold": 10.0}

    @property
    def level(self) -> Level:
        """The residual over the blocks after the first, as published."""
        return Level.STACK

    @property
    def indicator(self) -> Indicator | None:
        """The first block's residual."""
        return Indicator.FIRST_RESIDUAL

    @property
    def compares_with(self) -> Since:
        """Whose residual is compared: changes do not add up."""
        return "last computed call"

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return one action for all sites: whether the residual has changed by less than the threshold."""
        assert evidence.observed is not None
        settings = self._settings
        num_skipped = len(list(takewhile(lambda past: not past.computed, reversed(evidence.trace))))
        skips = (
            evidence.observed < settings.threshold
            and call.step >= settings.warmup
            and num_skipped < settings.max_consecutive
        )
        return dict.fromkeys(evidence.sites, Action.REUSE if skips else Action.COMPUTE)

    @property
    def _settings(self) -> FirstBlockConfig:
        return cast(FirstBlockConfig, self.config)

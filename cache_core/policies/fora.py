"""FORA: recompute every N-th call, reuse attention and MLP outputs in between.

Selvaraju et al. 2024, "FORA: Fast-Forward Caching in Diffusion Transformer Acceleration" (arXiv:2407.01425),
and the repository prathebaselva/FORA. With F_n the output of an attention or MLP in call n of 0 to T - 1, before its gate, and
N the interval,

    F_n = f(x_n)      where n = 0 or (T - 1 - n) mod N = 0,
    F_n = F_(n-1)     elsewhere,

and x + gate_n * F_n goes on: gates and modulation follow the current timestep also where a branch is reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from ..policy import POLICIES, Config, Evidence, Policy, setting
from ..types import Action, Call, Level, Site


@dataclass(frozen=True, kw_only=True)
class ForaConfig(Config):
    """Settings of FORA."""

    interval: int = setting(
        2,
        "Compute one call in this many and reuse its features in the others. 1 computes every call (the picture "
        "is then bit-identical to no node); 2 halves the work and changes the picture a little, 3 visibly.",
        minimum=1,
        maximum=100,
    )
    anchor: Literal["end", "start"] = setting(
        "end",
        "Which call the count hangs on. 'end' always computes the last call, as in the authors' repository; "
        "'start' counts from the first call, as later papers re-implement it.",
        choices=("end", "start"),
    )
    level: Literal["module", "block", "stack", "model"] = setting(
        "module",
        "What is kept. 'module' is the method as published: attention and MLP outputs of every block. 'block' keeps "
        "each block's change, 'stack' the change over all blocks (least memory, fastest), 'model' the network's output.",
        choices=("module", "block", "stack", "model"),
    )


@POLICIES.register
class Fora(Policy):
    """Fixed interval, last value: the static baseline of feature caching."""

    name = "fora"
    title = "FORA"
    source = "arXiv:2407.01425, github.com/prathebaselva/FORA"
    config_type = ForaConfig
    strictest: ClassVar[Mapping[str, Any]] = {"interval": 1}

    @property
    def level(self) -> Level:
        """Level of the sites the policy decides about."""
        return Level(self._settings.level)

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return one action for all sites: FORA's schedule knows neither depth nor kind of site."""
        action = Action.COMPUTE if self._is_full(call) else Action.REUSE
        return dict.fromkeys(evidence.sites, action)

    @property
    def _settings(self) -> ForaConfig:
        return cast(ForaConfig, self.config)

    def _is_full(self, call: Call) -> bool:
        interval = self._settings.interval
        if call.index == 0:
            return True
        if self._settings.anchor == "start":
            return call.index % interval == 0
        if call.remaining is None:
            # A sampler of unknown length has no end to count from; its last step is the end we do know.
            return call.index % interval == 0 or call.step == call.run.num_steps - 1
        return call.remaining % interval == 0

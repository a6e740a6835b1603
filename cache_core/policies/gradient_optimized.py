"""Gradient-Optimized Cache: what is reused is moved on by a part of its last change.

Qiu et al. 2025, "Accelerating Diffusion Transformer via Gradient-Optimized Cache" (ICCV 2025, arXiv:2503.05156), and
qiujx0520/GOC_ICCV2025, `DiT/models/dynamic_models.py`. On top of any method, with F1 the newest computed feature of a
site and F0 the one computed before it:

    F = F1 + eta * r * (F1 - F0)

in the listed steps, and the method's own stand-in in the others and where there is no F0 yet. It needs no calibration.

What r is, is decided here. The text has r = 1, whatever lies between the two features (`whole change`). The authors'
code subtracts not F0 but what it used in the call before, itself corrected; where features move evenly and every
second call is computed, this amounts to eta / (1 + eta) of F1 - F0 on average: 0.55 for their 1.2, 0.44 for their 0.8.
Features that were used are not kept here. `per call` comes to the same without them: r is how many calls ago F1 was
computed, over how many calls F1 - F0 took, so that eta 1 moves on in a straight line, at every interval.

In which steps: the authors correct all reused ones at 25 % and all but step 17 of 20 at 50 %, where the average feature of
their network turns back. That step is their network's. `all` corrects everywhere; the calibration of Error-Optimized
Cache tells at which steps features turn back, and a list leaves them out.

It helps where features go on as they went. Guidance turns them: at the authors' scale of 1.5 it helps at intervals 2 and 4, at
scale 4 at 2 only (docs/decisions.md, 17). `forecast` trusts a change the less, the stronger the guidance and the longer the gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from ..ops.steps import LIST_FORM, listed_steps
from ..overlay import CORRECTIONS, Overlay
from ..policy import Config, Policy, setting
from ..types import Call, History, Target

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class GradientOptimizedConfig(Config):
    """Settings of Gradient-Optimized Cache."""

    eta: float = setting(
        1.0,
        "How far what is reused is moved on along its last change. 0 does nothing (the picture is bit-identical to the method "
        "without this node); 1 goes on in a straight line; higher goes further. The authors use 1.2, and 0.8 with a router.",
        minimum=0.0,
        maximum=4.0,
    )
    reach: Literal["per call", "whole change"] = setting(
        "per call",
        "What part of the last change eta 1 is. 'per call' takes as much of it as calls have passed since; 'whole change' takes "
        "all of it, as the paper's equation is written.",
        choices=("per call", "whole change"),
    )
    steps: str = setting(
        ALL,
        "In which steps to correct, counted from 0: 'all', or a list such as '3-15, 19'. Leave out steps at which features "
        "turn back; Feature Cache Calibrate tells which ('prior').",
        form=(rf"{ALL}|{LIST_FORM}", f"'{ALL}' or a list such as '3-15, 19'"),
        advanced=True,
    )


@CORRECTIONS.register
class GradientOptimized(Overlay):
    """The last change of a feature, added once more."""

    name = "gradient_optimized"
    title = "Gradient-Optimized Cache"
    source = "arXiv:2503.05156, github.com/qiujx0520/GOC_ICCV2025"
    config_type = GradientOptimizedConfig
    strictest: ClassVar[Mapping[str, Any]] = {"eta": 0.0}

    def __init__(self, inner: Policy, config: Config) -> None:
        """Wrap `inner`, and read the list of steps."""
        super().__init__(inner, config)
        steps = self._settings.steps
        self._steps = None if steps == ALL else frozenset(listed_steps(steps))

    @property
    def memory(self) -> int:
        """Two snapshots, or as many as the inner policy looks at; no more than those where nothing is corrected."""
        return max(self.inner.memory, 2 if self._settings.eta else 1)

    def estimate(self, history: History, target: Target) -> Tensor:
        """Return the inner policy's stand-in, moved on along the change between the two newest snapshots."""
        reused = super().estimate(history, target)
        weight = self._weight(history, target.call)
        if not weight:
            return reused
        previous, last = history[-2:]
        return torch.add(reused, last.value - previous.value, alpha=weight)

    @property
    def _settings(self) -> GradientOptimizedConfig:
        return cast(GradientOptimizedConfig, self.config)

    def _weight(self, history: History, call: Call) -> float:
        """Return eta * r; 0 where nothing is to be corrected."""
        if len(history) == 1 or not (self._steps is None or call.step in self._steps):
            return 0.0
        if self._settings.reach == "whole change":
            return self._settings.eta
        previous, last = (snapshot.call.index for snapshot in history[-2:])
        return self._settings.eta * (call.index - last) / (last - previous)

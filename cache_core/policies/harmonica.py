"""HarmoniCa: in every step a trained router says which sites to compute; a feature stays until it is recomputed.

Huang et al. 2025, "HarmoniCa: Harmonizing Training and Inference for Better Feature Caching in Diffusion
Transformer Acceleration" (ICML 2025, arXiv:2410.01723), and ModelTC/HarmoniCa. A router of Learning-to-Cache's kind,
one score per step and attention or MLP, but trained on whole samplings, so it needs no pairs. With F the output before
its gate, in step i,

    F_i = f(x_i)      where i = 0 or sigmoid(score_i) > threshold,
    F_i = F_(i-1)     elsewhere,

so that a feature may serve many steps.

A router belongs to one network, number of steps and sampler. For another number of steps each step follows the
step with the nearest noise level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch

from ..artefact import Artefact, Kind
from ..mapping import check_run, nearest_row
from ..policy import POLICIES, Config, Evidence, Policy, setting
from ..types import Action, Call, Level, Run, Site


@dataclass(frozen=True, kw_only=True)
class HarmoniCaConfig(Config):
    """Settings of HarmoniCa."""

    router: Artefact | None = setting(
        None,
        "The trained router: a score for every step and site. Without one everything is computed.",
        kinds=(Kind.ROUTER,),
    )
    threshold: float = setting(
        0.1,
        "A site is computed where sigmoid(score) is above this. 0 computes everything (the picture is then bit-identical "
        "to no node); raising it reuses more. The authors' example uses 0.1.",
        minimum=0.0,
        maximum=1.0,
    )


@POLICIES.register
class HarmoniCa(Policy):
    """Trained routers on every step, last value."""

    name = "harmonica"
    title = "HarmoniCa"
    source = "arXiv:2410.01723, github.com/ModelTC/HarmoniCa"
    config_type = HarmoniCaConfig
    strictest: ClassVar[Mapping[str, Any]] = {"threshold": 0.0}

    @property
    def level(self) -> Level:
        """Attention and MLP outputs, as published."""
        return Level.MODULE

    def check_run(self, run: Run) -> tuple[str, ...]:
        """Return how the router's steps and the run's differ."""
        router = self._settings.router
        return () if router is None else check_run(router, run)

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return the router's choice; in the first step everything is computed."""
        router = self._settings.router
        if router is None or call.step == 0:
            return dict.fromkeys(evidence.sites, Action.COMPUTE)
        steps = range(router.num_steps)
        scores = router.tensors["score"][nearest_row(router.sampling, call.run, call.step, steps)]
        # sigmoid(score) > threshold, written so that at threshold 0 every score passes, however low.
        computed = router.sites_where(scores > torch.logit(torch.tensor(self._settings.threshold)))
        return {site: Action.COMPUTE if str(site) in computed else Action.REUSE for site in evidence.sites}

    @property
    def _settings(self) -> HarmoniCaConfig:
        return cast(HarmoniCaConfig, self.config)

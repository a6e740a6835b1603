"""Learning-to-Cache: of every pair of steps the first is full, the second computes what a trained router says.

Ma et al. 2024, "Learning-to-Cache: Accelerating Diffusion Transformer via Layer Caching" (NeurIPS 2024,
arXiv:2406.01733), and horseee/learning-to-cache, `DiT/models/dynamic_models.py`. In a cached step s the router
has one score per attention and MLP. With F the layer's output before its gate, and m the full step just before,

    F_s = f(x_s)    where sigmoid(score_s) > threshold,
    F_s = F_m       elsewhere.

The paper's Algorithm 2 prints the inequality the other way round; the code is unambiguous. Pairs count back from the last step, which is a cached
one; with an odd number of steps the first two are full. So every feature is at most one step old, and at best half of
the work is saved.

A router belongs to one network, number of steps and sampler. For another number of steps a cached step follows
the cached step with the nearest noise level.
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
class LearningToCacheConfig(Config):
    """Settings of Learning-to-Cache."""

    router: Artefact | None = setting(
        None,
        "The trained router: a score for every step and site. Without one everything is computed.",
        kinds=(Kind.ROUTER,),
    )
    threshold: float = setting(
        0.1,
        "In a cached step a site is computed where sigmoid(score) is above this. 0 computes everything (the picture is "
        "then bit-identical to no node); raising it reuses more. The paper uses 0.1, and 0.9 at 512 x 512.",
        minimum=0.0,
        maximum=1.0,
    )


@POLICIES.register
class LearningToCache(Policy):
    """Trained routers on pairs of steps, last value."""

    name = "learning_to_cache"
    title = "Learning-to-Cache"
    source = "arXiv:2406.01733, github.com/horseee/learning-to-cache"
    config_type = LearningToCacheConfig
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
        """Return the router's choice in a cached step; in a full one everything is computed."""
        router = self._settings.router
        if router is None or not is_cached_step(call.step, call.run.num_steps):
            return dict.fromkeys(evidence.sites, Action.COMPUTE)
        steps = range(router.num_steps)
        cached = [step for step in steps if is_cached_step(step, router.num_steps)]
        scores = router.tensors["score"][nearest_row(router.sampling, call.run, call.step, cached or steps)]
        # sigmoid(score) > threshold, written so that at threshold 0 every score passes, however low.
        computed = router.sites_where(scores > torch.logit(torch.tensor(self._settings.threshold)))
        return {site: Action.COMPUTE if str(site) in computed else Action.REUSE for site in evidence.sites}

    @property
    def _settings(self) -> LearningToCacheConfig:
        return cast(LearningToCacheConfig, self.config)


def is_cached_step(step: int, num_steps: int) -> bool:
    """Return whether a step is the second of its pair; pairs count back from the last step."""
    return step > 0 and (num_steps - 1 - step) % 2 == 0

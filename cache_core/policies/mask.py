"""Mask: a schedule that was searched or written beforehand says for every step and site whether to compute it.

What ECAD finds by evolution (Aggarwal et al. 2025, arXiv:2506.15682, AniAggarwal/ecad), what SmoothCache calibrates
(Liu et al. 2024, arXiv:2411.10510, Roblox/SmoothCache), and plain lists of full steps, such as those of the
Golden Path study (arXiv:2609.39343): one bool per step and site. With F_i the feature of a site in step i,

    F_i = f(x_i)      where i = 0 or mask_i is true,
    F_i = F_(i-1)     elsewhere.

A mask may be for any level; a list of full steps is one for level `stack`.

A mask belongs to one network and number of steps. For another number of steps each step follows the step with the
nearest noise level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from ..artefact import Artefact, Kind
from ..mapping import check_run, nearest_row
from ..policy import POLICIES, Config, Evidence, Policy, setting
from ..types import Action, Call, Level, Run, Site


@dataclass(frozen=True, kw_only=True)
class MaskConfig(Config):
    """Settings of a mask."""

    mask: Artefact | None = setting(
        None,
        "The schedule: true for every step and site to compute. Without one everything is computed.",
        kinds=(Kind.MASK,),
    )
    full_every: int = setting(
        1000,
        "Compute everything in one step of this many, whatever the mask says. 1 computes everything (the picture is then "
        "bit-identical to no node); 1000 leaves the mask alone; in between, features grow less old.",
        minimum=1,
        maximum=1000,
        advanced=True,
    )


@POLICIES.register
class Mask(Policy):
    """A fixed table of steps and sites, last value."""

    name = "mask"
    title = "Mask"
    source = "arXiv:2506.15682, github.com/AniAggarwal/ecad"
    config_type = MaskConfig
    strictest: ClassVar[Mapping[str, Any]] = {"full_every": 1}

    @property
    def level(self) -> Level:
        """The level that the mask was made for."""
        mask = self._settings.mask
        return Level.MODULE if mask is None else mask.architecture.level

    def check_run(self, run: Run) -> tuple[str, ...]:
        """Return how the mask's steps and the run's differ."""
        mask = self._settings.mask
        return () if mask is None else check_run(mask, run)

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return the mask's choice; in the first step everything is computed."""
        mask = self._settings.mask
        if mask is None or call.step % self._settings.full_every == 0:
            return dict.fromkeys(evidence.sites, Action.COMPUTE)
        row = nearest_row(mask.sampling, call.run, call.step, range(mask.num_steps))
        computed = mask.sites_where(mask.tensors["compute"][row])
        return {site: Action.COMPUTE if str(site) in computed else Action.REUSE for site in evidence.sites}

    @property
    def _settings(self) -> MaskConfig:
        return cast(MaskConfig, self.config)

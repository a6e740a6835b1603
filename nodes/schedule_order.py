"""What a schedule search is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..cache_core import CacheConflictError, ConfigError, Level, Run, unused_path
from ..cache_core.forecasting import ForecastConfig
from ..cache_core.ops.steps import even_steps
from ..cache_core.policies.step_list import StepList, StepListConfig
from ..cache_core.searching.lists import Steps
from ..cache_core.searching.outcome import Unit
from .host import adapter_of, find_binding
from .uncached import Conditioning, KSamplerSettings

Searched = Literal["steps", "blocks", "modules"]
"""What the search decides about: whole steps, or every block or module in every step."""

LEVELS: dict[Searched, Level] = {"steps": Level.MODEL, "blocks": Level.BLOCK, "modules": Level.MODULE}
"""Where the features are that are kept."""

RULE, EVEN = "default rule", "even spacing"
"""The lists of full steps that a search begins with, beside the table's own."""

MOST_STEPS = 200
"""Beyond, working out the table would take longer than sampling."""

Picture = tuple[Conditioning, int]
"""Prompt and seed of one sampling."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A search as it was asked for.

    Attributes:
        model: A MODEL without a cache.
        settings: Of the KSampler.
        prompts: One conditioning for every prompt.
        negative: The negative prompt of all.
        latent: A LATENT: size, and pictures per sampling.
        seed: First seed of every prompt.
        num_seeds: Seeds per prompt that the search sees; the one after them is for comparing.
        speedup: One step in so many is full, or as much of the blocks' work is done.
        searched: What is decided about.
        forecast: How a step that is left out is forecast; blocks and modules are reused as they are.
        tries: Most plans to sample with.
        minutes: No plan is begun after so long.
        vae: A VAE to compare pictures by, or None to compare latents.
        folder: Where the file goes.
        name: Name of the file; empty for one made of the settings.
    """

    model: Any
    settings: KSamplerSettings
    prompts: list[Conditioning]
    negative: Conditioning
    latent: dict[str, Any]
    seed: int
    num_seeds: int
    speedup: float
    forecast: ForecastConfig
    tries: int
    minutes: float
    folder: Path
    searched: Searched = "steps"
    vae: Any = None
    name: str = ""

    @property
    def level(self) -> Level:
        """Level of what is decided about."""
        return LEVELS[self.searched]

    @property
    def file_name(self) -> str:
        """Name of the file, without a suffix."""
        made = self.settings
        own = f"{adapter_of(self.model).name}_{made.steps}_{made.sampler}_{made.scheduler}_cfg{made.cfg:g}"
        return self.name.strip() or f"{self.searched}_{own}_x{self.speedup:g}"

    @property
    def seen(self) -> list[Picture]:
        """What the search looks at."""
        return [(prompt, self.seed + i) for prompt in self.prompts for i in range(self.num_seeds)]

    @property
    def unseen(self) -> list[Picture]:
        """What is compared on, once something was found."""
        return [(prompt, self.seed + self.num_seeds) for prompt in self.prompts]

    @property
    def unit(self) -> Unit:
        """What is compared."""
        return "latents" if self.vae is None else "pictures"

    def step_list(self, **settings: Any) -> StepList:
        """Return the policy of a step list that forecasts as was asked for."""
        return StepList(StepListConfig(order=self.forecast.order, trust=self.forecast.trust, **settings))

    def starts(self, run: Run) -> dict[str, Steps]:
        """Return the lists of full steps that are known without a search.

        Raises:
            ConfigError: If nothing can be searched.
        """
        rule = self.step_list(speedup=self.speedup).full_steps(run)
        if run.num_steps > MOST_STEPS or not 2 <= len(rule) < run.num_steps:
            raise ConfigError(
                f"'speedup' is {self.speedup:g} and the sampling has {run.num_steps} steps, which leaves {len(rule)} full ones. Expected "
                f"at most {MOST_STEPS} steps and from 2 full ones to one less than all: else there is nothing to search. Change one of them."
            )
        return {RULE: rule, EVEN: even_steps(run.num_steps, len(rule))}

    def require_sound(self) -> None:
        """Check what can be checked before sampling.

        Raises:
            CacheError: If the model is not supported or cached, there is no prompt, or the file's name is none.
        """
        if find_binding(self.model) is not None:
            raise CacheConflictError(
                "This MODEL already carries a cache, and a schedule is searched on the plain model. Feed the search from before the "
                "cache node."
            )
        if not self.prompts:
            raise ConfigError("'positive' holds no prompt. Connect a text encoder.")
        adapter_of(self.model)
        unused_path(self.folder, self.file_name)

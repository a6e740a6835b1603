"""Samples a MODEL for a schedule search: uncached while recording, with a list of full steps, and with fewer steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
import torch

from ..cache_core import CacheError, ConfigError, Policy, Recording, Run
from ..cache_core.searching.masks import Piece
from ..cache_core.searching.record import Record, make_record, picture_errors, relative_errors
from ..cache_core.searching.site_record import SiteRecord
from .host import CacheBinding, attach
from .runs import run_of
from .samplers import call_steps
from .schedule_order import Picture
from .uncached import Conditioning, KSamplerSettings, fitting, noise_levels, sample


def run_with(model: Any, settings: KSamplerSettings, latent: dict[str, Any]) -> Run:
    """Return what is known of a sampling of a MODEL before it starts.

    Raises:
        ConfigError: If the sampler's calls are not known beforehand.
    """
    sigmas, name = noise_levels(model, settings), settings.sampler
    if call_steps(name, sigmas) is None:
        raise ConfigError(
            f"'sampler_name' is '{name}', which decides while it samples how often it calls the model, so no list of steps can "
            "be made for it. Choose another, such as 'euler' or 'dpmpp_2m'."
        )
    guider = comfy.samplers.CFGGuider(model)
    guider.set_cfg(settings.cfg)
    sampler = comfy.samplers.sampler_object(name)
    return run_of(guider, fitting(model, latent), sampler, torch.tensor(sigmas), (0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Samplings that differ in prompt and seed only.

    Attributes:
        model: A MODEL without a cache.
        settings: Of the KSampler.
        negative: The negative prompt of all.
        latent: A LATENT of the size to sample at.
        vae: A VAE to compare pictures by, or None to compare latents.
        run: What `run_with` says of them.
        on_step: Called after every step.
    """

    model: Any
    settings: KSamplerSettings
    negative: Conditioning
    latent: dict[str, Any]
    vae: Any
    run: Run
    on_step: Callable[[], None]

    def record(self, pictures: Sequence[Picture]) -> tuple[Record, list[torch.Tensor]]:
        """Sample uncached; return what a search needs of it, and the results, see `uncached`."""
        outputs, latents = [], []
        for picture in pictures:
            recorder = _Recorder(self.run)
            latents.append(self._sample(recorder.attached(self.model), picture, self.settings))
            outputs.append(recorder.outputs())
        return make_record(self.run, outputs, latents), [self._result(latent) for latent in latents]

    def record_sites(
        self, record: SiteRecord, pictures: Sequence[Picture]
    ) -> tuple[list[torch.Tensor], tuple[Piece, ...]]:
        """Sample uncached and show every site to `record`; return the results, see `uncached`, and what takes how long."""
        binding, results = CacheBinding(Recording(record), 0.0, 1.0), []
        model = attach(self.model, binding)
        for picture in pictures:
            results.append(self._result(self._sample(model, picture, self.settings)))
            record.close_run()
        assert binding.ledger.report is not None
        return results, binding.ledger.report.piece_seconds

    def uncached(self, pictures: Sequence[Picture]) -> list[torch.Tensor]:
        """Sample uncached; return the final latents (B, ...), or the pictures (B, H, W, 3) where there is a VAE."""
        return [self._result(self._sample(self.model, picture, self.settings)) for picture in pictures]

    def errors_of(
        self, policy: Policy, pictures: Sequence[Picture], uncached: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Return the error (P,) of each picture sampled with a cache, against the `uncached` results."""
        model = attach(self.model, CacheBinding(policy, 0.0, 1.0, is_shown=False))
        return self._errors(model, self.settings, pictures, uncached)

    def errors_of_fewer(
        self, steps: int, pictures: Sequence[Picture], uncached: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Return the error (P,) of each picture sampled in so many steps without a cache, against the `uncached` results."""
        return self._errors(self.model, replace(self.settings, steps=steps), pictures, uncached)

    def _errors(
        self,
        model: Any,
        settings: KSamplerSettings,
        pictures: Sequence[Picture],
        uncached: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        errors = relative_errors if self.vae is None else picture_errors
        found = [
            errors(self._result(self._sample(model, picture, settings)), result)
            for picture, result in zip(pictures, uncached, strict=True)
        ]
        return torch.cat(found)

    def _sample(self, model: Any, picture: Picture, settings: KSamplerSettings) -> torch.Tensor:
        prompt, seed = picture
        return sample(model, settings, prompt, self.negative, self.latent, seed, self.on_step)

    def _result(self, latents: torch.Tensor) -> torch.Tensor:
        """Return what is compared of a sampling."""
        result: torch.Tensor = latents if self.vae is None else self.vae.decode(latents)
        return result.cpu()


class _Recorder:
    """Looks at what the sampler is given and what it gets, in the first call of every step."""

    def __init__(self, run: Run) -> None:
        self._run, self._num_calls = run, 0
        self._outputs: dict[int, torch.Tensor] = {}

    def attached(self, model: Any) -> Any:
        """Return a clone of a MODEL that we look at."""
        patched = model.clone()
        patched.set_model_sampler_post_cfg_function(self.look)
        return patched

    def look(self, args: dict[str, Any]) -> torch.Tensor:
        """Keep how the picture would move with sigma by each prediction: what Euler multiplies by the step."""
        sigma, x = float(args["sigma"].max()), args["input"]
        step = self._run.step_of(self._num_calls, sigma)
        if step not in self._outputs:
            # Without guidance the host leaves the negative prompt out.
            names = ("cond_denoised", "uncond_denoised")[: 1 if self._run.cfg == 1.0 else 2]
            self._outputs[step] = torch.stack([(x - args[name]).float() / sigma for name in names]).cpu()
        self._num_calls += 1
        denoised: torch.Tensor = args["denoised"]
        return denoised

    def outputs(self) -> torch.Tensor:
        """Return (R, T, B, ...) float32.

        Raises:
            CacheError: If a step made no call.
        """
        silent = [step for step in range(self._run.num_steps) if step not in self._outputs]
        if silent:
            raise CacheError(
                f"The sampler made no call in step {silent[0]} of {self._run.num_steps}, so no list of steps can be made for it. "
                "Choose another sampler, such as 'euler' or 'dpmpp_2m'."
            )
        return torch.stack([self._outputs[step] for step in range(self._run.num_steps)], dim=1)

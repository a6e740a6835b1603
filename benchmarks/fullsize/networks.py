"""The published networks as MODELs of the host, with random weights that are made where they compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from footprints import PUBLISHED
from overhead_networks import CONTEXT, POOLED, Recipe, fill, unet_config
from torch import Tensor

SAMPLER, SCHEDULER = "euler", "simple"
GUIDANCE = {published.family: published.cfg for published in PUBLISHED}
"""By family, the cfg that its published network is sampled with: 1 is one branch, above it there are two."""
_DISTILLED_GUIDANCE = 3.5


@dataclass(frozen=True)
class Subject:
    """A MODEL without a cache, and the prompts that it is sampled with."""

    recipe: Recipe
    model: Any
    positive: list[Any]
    negative: list[Any]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device(self.model.load_device)


def load(recipe: Recipe) -> Subject:
    """Build a network on the host's device, where it stays; its weights never lie anywhere else."""
    import comfy.model_management
    import comfy.model_patcher

    device = comfy.model_management.get_torch_device()
    torch.manual_seed(0)
    base = _config(recipe).get_model({}, "", device=device).eval()
    fill(base.diffusion_model)
    model = comfy.model_patcher.ModelPatcher(base, load_device=device, offload_device=device)
    # Or the host would look for room for them a second time.
    model.load(device_to=device, full_load=True)
    return Subject(recipe, model, _conditioning(recipe, 1), _conditioning(recipe, 2))


@torch.inference_mode()
def sample(subject: Subject, model: Any, steps: int) -> Tensor:
    """Sample one picture as KSampler does, without decoding it.

    Args:
        subject: Whose prompts and size are taken.
        model: Its MODEL, or one that carries a cache.
        steps: Of Euler's sampler.

    Returns:
        (1, C, pixels / 8, pixels / 8), in host memory.
    """
    import comfy.sample

    recipe = subject.recipe
    side = recipe.pixels // 8
    empty = torch.zeros(1, recipe.channels, side, side)
    latent: Tensor = comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(empty, 0),
        steps,
        GUIDANCE[recipe.family],
        SAMPLER,
        SCHEDULER,
        subject.positive,
        subject.negative,
        empty,
        disable_pbar=True,
        seed=0,
    )
    return latent


def num_parameters(recipe: Recipe) -> int:
    """Count the weights, without memory for them."""
    base = _config(recipe).get_model({}, "", device=torch.device("meta"))
    return sum(weight.numel() for weight in base.diffusion_model.parameters())


def num_operations(recipe: Recipe, steps: int) -> float:
    """Return about how many multiplications and additions an uncached picture takes, as if all weights met all tokens."""
    tokens = (recipe.pixels // 16) ** 2 + recipe.text
    branches = 1 if GUIDANCE[recipe.family] == 1 else 2
    return 2.0 * num_parameters(recipe) * tokens * branches * steps


def _config(recipe: Recipe) -> Any:
    import comfy.supported_models as supported

    kinds = {"flux": supported.Flux, "sd3": supported.SD3, "pixart": supported.PixArtSigma}
    config = kinds[recipe.family](unet_config(recipe))
    config.set_inference_dtype(recipe.dtype, None)
    return config


def _conditioning(recipe: Recipe, seed: int) -> list[Any]:
    """Return a random prompt in the host's form."""
    dice = torch.Generator().manual_seed(seed)
    context = torch.randn(1, recipe.text, CONTEXT[recipe.family], generator=dice)
    pooled = torch.randn(1, POOLED.get(recipe.family, 1), generator=dice)
    return [[context, {"pooled_output": pooled, "guidance": _DISTILLED_GUIDANCE}]]

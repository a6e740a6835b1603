"""Networks with random weights for the overhead benchmark: a few blocks for the CPU, full size for a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Network:
    """A live network and the arguments of one call, for one branch."""

    name: str
    width: int
    module: nn.Module
    arguments: Mapping[str, Tensor]

    @property
    def device(self) -> torch.device:
        """The device it computes on."""
        return self.arguments["x"].device

    @property
    def dtype(self) -> torch.dtype:
        """The type it computes in."""
        return self.arguments["x"].dtype

    def call(self) -> Tensor:
        """Evaluate it once."""
        # The families name their second argument differently.
        x, timestep, *_ = self.arguments.values()
        others = {name: self.arguments[name] for name in self.arguments if name not in ("x", "timestep")}
        output: Tensor = self.module(x, timestep, **others)
        return output


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to build.

    Attributes:
        family: Which of the host's classes.
        heads: Attention heads; the width is a multiple of them.
        depth: Blocks; of Flux the double blocks.
        singles: Flux's single blocks.
        pixels: Side of the picture.
        text: Text tokens.
    """

    name: str
    family: str
    width: int
    heads: int
    depth: int
    singles: int = 0
    pixels: int = 272
    text: int = 64
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def channels(self) -> int:
        """Channels of the latent."""
        return 4 if self.family == "pixart" else 16

    def __call__(self) -> Network:
        """Build the network with seeded random weights."""
        torch.manual_seed(0)
        with torch.device(self.device):
            module = _network(self)
            fill(module)
            arguments = _arguments(self)
        return Network(name=self.name, width=self.width, module=module.eval(), arguments=arguments)


def _arguments(recipe: Recipe) -> dict[str, Tensor]:
    """Return a latent, a time, a text and, where the family wants one, a pooled text and a guidance."""
    side, wide = recipe.pixels // 8, CONTEXT[recipe.family]
    given = {
        "x": torch.randn(1, recipe.channels, side, side, dtype=recipe.dtype),
        "timestep": torch.tensor([0.5]),
        "context": torch.randn(1, recipe.text, wide, dtype=recipe.dtype),
    }
    if recipe.family != "pixart":
        given["y"] = torch.randn(1, POOLED[recipe.family], dtype=recipe.dtype)
    if recipe.family == "flux":
        given["guidance"] = torch.tensor([3.5])
    return given


CONTEXT = {"flux": 4096, "sd3": 4096, "pixart": 4096}
POOLED = {"flux": 768, "sd3": 2048}


def unet_config(recipe: Recipe) -> dict[str, Any]:
    """Return what the host's class of the family is built with, the operations aside."""
    return CONFIGS[recipe.family](recipe) | {"dtype": recipe.dtype}


def _flux_config(recipe: Recipe) -> dict[str, Any]:
    head = recipe.width // recipe.heads
    return {
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "vec_in_dim": POOLED["flux"],
        "context_in_dim": CONTEXT["flux"],
        "hidden_size": recipe.width,
        "mlp_ratio": 4.0,
        "num_heads": recipe.heads,
        "depth": recipe.depth,
        "depth_single_blocks": recipe.singles,
        "axes_dim": [head // 8, head * 7 // 16, head * 7 // 16],
        "theta": 10000,
        "qkv_bias": True,
        "guidance_embed": True,
        "txt_ids_dims": [],
    }


def _sd3_config(recipe: Recipe) -> dict[str, Any]:
    text = {"in_features": CONTEXT["sd3"], "out_features": 64 * recipe.heads}
    return {
        "input_size": None,
        "in_channels": 16,
        "depth": recipe.heads,
        "num_blocks": recipe.depth,
        "adm_in_channels": POOLED["sd3"],
        "context_embedder_config": {"target": "torch.nn.Linear", "params": text},
        "qk_norm": "rms",
        "num_patches": 192 * 192,
        "pos_embed_max_size": 192,
    }


def _pixart_config(recipe: Recipe) -> dict[str, Any]:
    return {
        "hidden_size": recipe.width,
        "num_heads": recipe.heads,
        "depth": recipe.depth,
        "patch_size": 2,
        "in_channels": 4,
        "caption_channels": CONTEXT["pixart"],
        "model_max_length": recipe.text,
        "micro_condition": False,
        "pe_interpolation": 2,
    }


CONFIGS = {"flux": _flux_config, "sd3": _sd3_config, "pixart": _pixart_config}


def _network(recipe: Recipe) -> nn.Module:
    import comfy.ldm.flux.model
    import comfy.ldm.modules.diffusionmodules.mmdit as mmdit
    import comfy.ldm.pixart.pixartms
    import comfy.ops

    classes = {
        "flux": comfy.ldm.flux.model.Flux,
        "sd3": mmdit.OpenAISignatureMMDITWrapper,
        "pixart": comfy.ldm.pixart.pixartms.PixArtMS,
    }
    built: nn.Module = classes[recipe.family](**unet_config(recipe), operations=comfy.ops.disable_weight_init)
    return built


def fill(network: nn.Module) -> None:
    """Give every weight a random number, where it lies."""
    # SD3 keeps its table of positions in a buffer, which the host leaves to the checkpoint.
    for tensor in (*network.parameters(), *network.buffers()):
        nn.init.normal_(tensor, std=0.02)


def small(width: int) -> tuple[Recipe, ...]:
    """Return three blocks of each family at 272 px, the least that PixArt takes."""
    return (
        Recipe(name="Flux", family="flux", width=width, heads=width // 128, depth=1, singles=2),
        Recipe(name="SD3", family="sd3", width=width, heads=width // 64, depth=3),
        Recipe(name="PixArt", family="pixart", width=width, heads=width // 64, depth=3),
    )


SMALL = tuple(recipe for width in (512, 1024, 2048) for recipe in small(width))
"""The share of the engine depends on the width, hardly on the tokens."""

_ON_GPU: dict[str, Any] = {"pixels": 1024, "device": "cuda", "dtype": torch.bfloat16}
FULL = (
    Recipe(name="Flux.1 dev", family="flux", width=3072, heads=24, depth=19, singles=38, text=512, **_ON_GPU),
    Recipe(name="SD3.5 large", family="sd3", width=2432, heads=38, depth=38, text=154, **_ON_GPU),
    Recipe(name="PixArt-sigma", family="pixart", width=1152, heads=16, depth=28, text=300, **_ON_GPU),
)
"""The published sizes at 1024 px."""

"""A real ComfyUI in this process: loading it, tiny real models with random weights, sampling as KSampler does."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

FLUX_CONFIG = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 32,
    "context_in_dim": 48,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": False,
    "txt_ids_dims": [],
}

FLUX2_CHANGES = {
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "vec_in_dim": None,
    "mlp_ratio": 3.0,
    "axes_dim": [32, 32, 32, 32],
    "theta": 2000,
    "qkv_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "txt_ids_dims": [3],
}

CHROMA_CONFIG = {
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "patch_size": 2,
    "context_in_dim": 48,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "in_dim": 64,
    "out_dim": 128,
    "hidden_dim": 64,
    "n_layers": 2,
    "txt_ids_dims": [],
    "vec_in_dim": None,
}

PIXART_CONFIG = {
    "image_model": "pixart_sigma",
    "hidden_size": 64,
    "num_heads": 2,
    "depth": 3,
    "patch_size": 2,
    "in_channels": 4,
    "caption_channels": 48,
    "model_max_length": 8,
    "micro_condition": False,
}


@dataclass(frozen=True)
class Host:
    """The loaded host and our pack inside it, under the name the host gave it."""

    folder: Path
    pack: str
    nodes: dict[str, Any] = field(repr=False)

    def module(self, name: str) -> ModuleType:
        """Return a module of the pack, such as `nodes.host`."""
        return sys.modules[f"{self.pack}.{name}" if name else self.pack]


def load_host(folder: Path, root: Path, base: Path) -> Host:
    """Import ComfyUI from `folder` on the CPU and load our pack from `root` as the host's own loader does."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(folder))
    arguments, sys.argv = sys.argv, ["main.py", "--cpu", "--base-directory", str(base)]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        # As main.py: `nodes` puts a folder on the path whose utils.py would hide the host's package `utils`.
        importlib.import_module("utils.extra_config")
        import nodes
    finally:
        sys.argv = arguments
    # Tiny networks gain nothing from threads, and lose much where something else is using the cores.
    torch.set_num_threads(1)
    before = set(nodes.NODE_CLASS_MAPPINGS)
    assert asyncio.run(nodes.load_custom_node(str(root)))
    found = {name: cls for name, cls in nodes.NODE_CLASS_MAPPINGS.items() if name not in before}
    pack = next(iter(found.values())).__module__.rsplit(".nodes", 1)[0]
    return Host(folder=folder, pack=pack, nodes=found)


def random_flux(seed: int = 0, compute: torch.dtype | None = None) -> Any:
    """Return the MODEL of a tiny Flux.1 with seeded random weights; `compute` sets the type it computes in."""
    return _random_flux(FLUX_CONFIG, seed, compute)


def random_flux2(seed: int = 0) -> Any:
    """Return the MODEL of a tiny Flux.2, whose blocks share one modulation."""
    return _random_flux(FLUX_CONFIG | FLUX2_CHANGES, seed, None)


def random_sd3(seed: int = 0) -> Any:
    """Return the MODEL of a tiny SD3.5: two joint blocks, the first with a second attention, qk-norm."""
    import comfy.ldm.modules.diffusionmodules.mmdit as mmdit
    import comfy.ops

    context = {"target": "torch.nn.Linear", "params": {"in_features": 48, "out_features": 128}}
    network = mmdit.OpenAISignatureMMDITWrapper(
        in_channels=16,
        depth=2,
        input_size=None,
        adm_in_channels=32,
        context_embedder_config=context,
        qk_norm="rms",
        x_block_self_attn_layers=[0],
        num_patches=64,
        pos_embed_max_size=8,
        operations=comfy.ops.disable_weight_init,
    )
    return _load(_weights(network, seed))


def random_pixart(seed: int = 0) -> Any:
    """Return the MODEL of a tiny PixArt-sigma, narrower than the loader allows, in the host's own class."""
    import comfy.supported_models

    return _build(comfy.supported_models.PixArtSigma, PIXART_CONFIG, seed)


def random_chroma(seed: int = 0) -> Any:
    """Return the MODEL of a tiny Chroma: Flux's blocks, whose modulation one network makes from the timestep."""
    import comfy.supported_models

    return _build(comfy.supported_models.Chroma, CHROMA_CONFIG, seed)


def _build(kind: type, unet_config: dict[str, Any], seed: int) -> Any:
    """Return the MODEL of a network narrower than the host's loader allows."""
    import comfy.model_patcher

    config = kind(dict(unet_config))
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, "")
    base.diffusion_model.load_state_dict(_weights(base.diffusion_model, seed))
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(base, load_device=cpu, offload_device=cpu)


def _random_flux(config: dict[str, Any], seed: int, compute: torch.dtype | None) -> Any:
    import comfy.ldm.flux.model
    import comfy.ops

    network = comfy.ldm.flux.model.Flux(
        **config, dtype=torch.float32, operations=comfy.ops.disable_weight_init
    )
    weights = {n.replace("_norm.weight", "_norm.scale"): w for n, w in _weights(network, seed).items()}
    return _load(weights, compute)


def _load(weights: dict[str, torch.Tensor], compute: torch.dtype | None = None) -> Any:
    import comfy.sd

    if compute is None:
        return comfy.sd.load_diffusion_model_state_dict(weights)
    # Weights in another type than the computation make the host use its casting layers, which accept any.
    model = comfy.sd.load_diffusion_model_state_dict(weights, model_options={"dtype": torch.float16})
    model.set_model_compute_dtype(compute)
    return model


def _weights(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Return seeded weights: norms near one, the rest wide enough that every block visibly changes its stream."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        is_norm = "_norm." in name or "ln_" in name
        weights[name] = 1 + 0.1 * noise if is_norm else 0.08 * noise
    return weights


def conditioning(seed: int, tokens: int = 8, width: int = 48, pooled: int = 32) -> list[Any]:
    """Return a seeded CONDITIONING that fits `random_flux`."""
    generator = torch.Generator().manual_seed(1000 + seed)
    context = torch.randn(1, tokens, width, generator=generator)
    return [[context, {"pooled_output": torch.randn(1, pooled, generator=generator)}]]


def sample(
    model: Any,
    *,
    steps: int = 6,
    cfg: float = 1.0,
    sampler: str = "euler",
    scheduler: str = "simple",
    size: int | None = None,
    batch: int = 1,
    seed: int = 1,
    positive: list[Any] | None = None,
    negative: list[Any] | None = None,
    callback: Callable[..., None] | None = None,
    **options: Any,
) -> torch.Tensor:
    """Return the latent that a KSampler node would give."""
    import comfy.sample

    latent = torch.zeros(batch, *latent_shape(model, size))
    noise = comfy.sample.prepare_noise(latent, seed)
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            noise,
            steps,
            cfg,
            sampler,
            scheduler,
            positive or conditioning(1),
            negative or conditioning(2),
            latent,
            denoise=options.pop("denoise", 1.0),
            seed=seed,
            callback=callback,
            disable_pbar=True,
            **options,
        )


def latent_shape(model: Any, size: int | None = None) -> tuple[int, int, int]:
    """Return (channels, height, width) of the latent of a square picture; the smallest the family samples by default."""
    channels = model.get_model_object("latent_format").latent_channels
    # Flux.2's latents are twice as coarse; PixArt's position embedding divides by zero below 272 px.
    side = (size or (272 if channels == 4 else 64)) // (16 if channels == 128 else 8)
    return channels, side, side


def network_of(model: Any) -> torch.nn.Module:
    """Return the live network of a MODEL."""
    return model.model.diffusion_model


def instance_forwards(model: Any) -> list[str]:
    """Return the modules of a MODEL whose instance carries a `forward` of its own."""
    return [name for name, module in network_of(model).named_modules() if "forward" in vars(module)]

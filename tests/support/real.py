"""A real ComfyUI in this process: loading it, tiny real models with random weights, sampling as KSampler does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def _random_flux(config: dict[str, Any], seed: int, compute: torch.dtype | None) -> Any:
    import comfy.ldm.flux.model
    import comfy.ops
    import comfy.sd

    network = comfy.ldm.flux.model.Flux(
        **config, dtype=torch.float32, operations=comfy.ops.disable_weight_init
    )
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in network.state_dict().items():
        # Qk-norm weights are near one; the rest is wide enough that every block visibly changes its stream.
        noise = torch.randn(value.shape, generator=generator)
        weights[name.replace("_norm.weight", "_norm.scale")] = (
            1 + 0.1 * noise if "_norm." in name else 0.08 * noise
        )
    if compute is None:
        return comfy.sd.load_diffusion_model_state_dict(weights)
    # Weights in another type than the computation make the host use its casting layers, which accept any.
    model = comfy.sd.load_diffusion_model_state_dict(weights, model_options={"dtype": torch.float16})
    model.set_model_compute_dtype(compute)
    return model


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
    size: int = 64,
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


def latent_shape(model: Any, size: int = 64) -> tuple[int, int, int]:
    """Return (channels, height, width) of the latent of a square picture; Flux.2's is twice as coarse."""
    channels = model.get_model_object("latent_format").latent_channels
    side = size // (16 if channels == 128 else 8)
    return channels, side, side


def network_of(model: Any) -> torch.nn.Module:
    """Return the live network of a MODEL."""
    return model.model.diffusion_model


def instance_forwards(model: Any) -> list[str]:
    """Return the modules of a MODEL whose instance carries a `forward` of its own."""
    return [name for name, module in network_of(model).named_modules() if "forward" in vars(module)]


@contextmanager
def hooks(handles: Iterator[Any]) -> Iterator[None]:
    """Keep forward hooks registered inside the `with` block."""
    kept = list(handles)
    try:
        yield
    finally:
        for handle in kept:
            handle.remove()

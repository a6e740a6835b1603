"""The graph of a plain text-to-picture prompt on each model of the zoo, without a cache and with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client import Prompt
from gallery.caches import Widgets

LOADERS: dict[str, dict[str, Any]] = {
    "flux": {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": "zoo_flux.safetensors", "weight_dtype": "default"},
    },
    "sd3": {"class_type": "ZooDiffusionLoader", "inputs": {"model_name": "zoo_sd3.safetensors"}},
    "pixart": {"class_type": "ZooDiffusionLoader", "inputs": {"model_name": "zoo_pixart.safetensors"}},
}
"""The loader of each family: Flux's is the stock one."""
AUTOENCODERS = {"flux": "zoo_vae_16ch", "sd3": "zoo_vae_16ch_sd3", "pixart": "zoo_vae_4ch"}
EMPTY_LATENTS = {"flux": "EmptySD3LatentImage", "sd3": "EmptySD3LatentImage", "pixart": "EmptyLatentImage"}
SIZES = {"flux": 192, "sd3": 192, "pixart": 272}
"""Side of the pictures in pixels."""
HOSTS_CACHES = {"LazyCache": 0.2, "EasyCache": 0.2}
"""ComfyUI's own caches at the threshold that they come with; the rest of their inputs too is what they come with."""


def plain(family: str, steps: int, caption: str = "", seed: int = 0) -> Prompt:
    """Return the prompt without a cache: Euler, simple schedule, cfg 4."""
    size = SIZES[family]
    sampling = {"sampler_name": "euler", "scheduler": "simple", "cfg": 4.0, "denoise": 1.0}
    wires = {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": ["empty", 0],
    }
    return {
        "model": LOADERS[family],
        "vae": _node("VAELoader", vae_name=f"{AUTOENCODERS[family]}.safetensors"),
        "positive": _node("ZooCaption", caption=caption),
        "negative": _node("ZooCaption", caption=""),
        "empty": _node(EMPTY_LATENTS[family], width=size, height=size, batch_size=1),
        "samples": _node("KSampler", seed=seed, steps=steps, **sampling, **wires),
        "picture": _node("VAEDecode", samples=["samples", 0], vae=["vae", 0]),
        "saved": _node("SaveImage", images=["picture", 0], filename_prefix=f"zoo_{family}"),
    }


def with_ours(prompt: Prompt, widgets: Widgets) -> Prompt:
    """Return a copy with our node, so set, between loader and sampler, and its report behind the sampler."""
    changed = _with_cache(prompt, "FeatureCache", widgets)
    return changed | {"report": _node("FeatureCacheReport", model=["cache", 0], samples=["samples", 0])}


def with_hosts_cache(prompt: Prompt, name: str) -> Prompt:
    """Return a copy with one of `HOSTS_CACHES` between loader and sampler."""
    inputs = {
        "reuse_threshold": HOSTS_CACHES[name],
        "start_percent": 0.15,
        "end_percent": 0.95,
        "verbose": False,
    }
    return _with_cache(prompt, name, inputs)


def _with_cache(prompt: Prompt, class_type: str, inputs: Mapping[str, Any]) -> Prompt:
    sampler = prompt["samples"]
    cached = sampler | {"inputs": sampler["inputs"] | {"model": ["cache", 0]}}
    return prompt | {"cache": _node(class_type, model=["model", 0], **inputs), "samples": cached}


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}

"""Each family of the zoo draws through the real server: stock nodes but for caption and, if need be, loader."""

from __future__ import annotations

import numpy as np
import pytest
from client import Comfy, ComfyError, Prompt

LOADERS = {
    "flux": {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": "zoo_flux.safetensors", "weight_dtype": "default"},
    },
    "sd3": {"class_type": "ZooDiffusionLoader", "inputs": {"model_name": "zoo_sd3.safetensors"}},
    "pixart": {"class_type": "ZooDiffusionLoader", "inputs": {"model_name": "zoo_pixart.safetensors"}},
}
AUTOENCODERS = {"flux": "zoo_vae_16ch", "sd3": "zoo_vae_16ch_sd3", "pixart": "zoo_vae_4ch"}
EMPTY_LATENTS = {"flux": "EmptySD3LatentImage", "sd3": "EmptySD3LatentImage", "pixart": "EmptyLatentImage"}
SIZES = {"flux": 192, "sd3": 192, "pixart": 272}


def _node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}


def _prompt(family: str, caption: str) -> Prompt:
    size = SIZES[family]
    sampling = {
        "seed": 3,
        "steps": 6,
        "cfg": 4.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1.0,
    }
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
        "samples": _node("KSampler", **sampling, **wires),
        "picture": _node("VAEDecode", samples=["samples", 0], vae=["vae", 0]),
        "saved": _node("SaveImage", images=["picture", 0], filename_prefix=f"zoo_{family}"),
    }


@pytest.mark.parametrize("family", LOADERS)
def test_a_family_draws_what_the_caption_says(comfy: Comfy, family: str) -> None:
    prompt = _prompt(family, "a large red circle at the center, on plain ivory with shadows")
    picture = comfy.image(comfy.run(prompt), "saved")
    size = SIZES[family]
    assert picture.shape == (size, size, 3)
    red, green, blue = picture[size // 2 - 12 : size // 2 + 12, size // 2 - 12 : size // 2 + 12].mean(
        axis=(0, 1)
    )
    assert red > max(green, blue) + 0.3
    assert np.all(picture[:12].mean(axis=(0, 1)) > 0.7)


def test_the_loader_names_a_file_that_it_cannot_load(comfy: Comfy) -> None:
    prompt = _prompt("sd3", "")
    prompt["model"] = {"class_type": "ZooDiffusionLoader", "inputs": {"model_name": "zoo_flux.safetensors"}}
    with pytest.raises(ComfyError, match=r'"zoo_flux.safetensors" cannot be loaded.*Load Diffusion Model'):
        comfy.run(prompt)

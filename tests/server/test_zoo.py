"""Each family of the zoo draws through the real server: stock nodes but for caption and, if need be, loader."""

from __future__ import annotations

import numpy as np
import pytest
from client import Comfy, ComfyError
from server_graphs import LOADERS, SIZES, plain

NUM_STEPS, SEED = 6, 3


@pytest.mark.parametrize("family", LOADERS)
def test_a_family_draws_what_the_caption_says(comfy: Comfy, family: str) -> None:
    prompt = plain(family, NUM_STEPS, "a large red circle at the center, on plain ivory with shadows", SEED)
    picture = comfy.image(comfy.run(prompt), "saved")
    size = SIZES[family]
    assert picture.shape == (size, size, 3)
    red, green, blue = picture[size // 2 - 12 : size // 2 + 12, size // 2 - 12 : size // 2 + 12].mean(
        axis=(0, 1)
    )
    assert red > max(green, blue) + 0.3
    assert np.all(picture[:12].mean(axis=(0, 1)) > 0.7)


def test_the_loader_names_a_file_that_it_cannot_load(comfy: Comfy) -> None:
    prompt = plain("sd3", NUM_STEPS, seed=SEED)
    prompt["model"] = {"class_type": "ZooDiffusionLoader", "inputs": {"model_name": "zoo_flux.safetensors"}}
    with pytest.raises(ComfyError, match=r'"zoo_flux.safetensors" cannot be loaded.*Load Diffusion Model'):
        comfy.run(prompt)

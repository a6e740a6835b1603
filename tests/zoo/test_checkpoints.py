"""The shipped files: what they hold, and that the host's stock loaders take them."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "zoo" / "checkpoints"
FLUX, VAE = FOLDER / "zoo_flux.safetensors", FOLDER / "zoo_vae_16ch.safetensors"


def _header(path):
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return header


@pytest.mark.parametrize(("path", "limit"), [(FLUX, 12e6), (VAE, 6e6)])
def test_files_are_small_and_half_precision(path, limit):
    assert path.stat().st_size < limit
    assert {entry["dtype"] for entry in _header(path).values()} == {"F16"}


def test_flux_has_the_published_names_and_shapes():
    header = _header(FLUX)
    assert header["img_in.weight"]["shape"] == [128, 64]
    assert header["double_blocks.3.img_attn.norm.key_norm.scale"]["shape"] == [128]
    assert header["single_blocks.7.norm.query_norm.scale"]["shape"] == [128]
    assert not any(name.endswith("_norm.weight") or name.startswith("guidance_in") for name in header)


def test_the_autoencoder_has_the_names_that_the_loader_looks_for():
    header = _header(VAE)
    assert header["taesd_decoder.1.weight"]["shape"] == [64, 16, 3, 3]
    assert header["taesd_encoder.0.weight"]["shape"] == [64, 3, 3, 3]
    assert header["vae_scale"]["shape"] == header["vae_shift"]["shape"] == []


@pytest.fixture(scope="module")
def pipeline(host_folder):
    from zoo.sampling import load_pipeline

    return load_pipeline()


@pytest.mark.host
def test_flux_loads_as_the_hosts_own_class(pipeline):
    import comfy.ldm.flux.model

    network = pipeline.model.model.diffusion_model
    assert type(network) is comfy.ldm.flux.model.Flux
    assert (len(network.double_blocks), len(network.single_blocks), network.hidden_size) == (4, 8, 128)


@pytest.mark.host
def test_the_autoencoder_keeps_held_out_pictures(pipeline):
    from zoo.rendering import render
    from zoo.scenes import sample_scene

    pictures = np.stack([render(sample_scene(1, index, "held-out"), 192) for index in range(4)])
    originals = torch.from_numpy(pictures).float() / 255.0
    latents = pipeline.vae.encode(originals).detach()
    assert latents.shape == (4, 16, 24, 24)
    error = (pipeline.vae.decode(latents).detach() - originals).square().mean(dim=(1, 2, 3))
    assert float((-10.0 * error.log10()).mean()) > 24.0
    seen_by_flux = pipeline.model.model.process_latent_in(latents)
    assert 0.5 < float(seen_by_flux.std()) < 1.5


@pytest.mark.host
def test_sampling_follows_the_caption(pipeline):
    from zoo.sampling import Request, sample

    words = "a large {} circle at the center, on plain {} with shadows"
    red = sample(pipeline, Request(caption=words.format("red", "ivory"), seed=3, steps=8))
    blue = sample(pipeline, Request(caption=words.format("blue", "ivory"), seed=3, steps=8))
    dark = sample(pipeline, Request(caption=words.format("red", "navy"), seed=3, steps=8))
    assert red.shape == (192, 192, 3)
    middle = slice(84, 108)
    difference = (red - blue)[middle, middle].mean(dim=(0, 1))
    assert difference[0] > 0.2 > -0.2 > difference[2]
    assert (red - dark)[:16].mean() > 0.2


@pytest.mark.host
def test_the_same_seed_gives_the_same_picture(pipeline):
    from zoo.sampling import Request, sample

    request = Request(
        caption="a small green star at the left, on sky and mint clouds with edges", seed=1, steps=3
    )
    assert torch.equal(sample(pipeline, request), sample(pipeline, request))


@pytest.mark.host
def test_the_node_gives_the_caption_as_conditioning(pipeline):
    from zoo.captions import embed
    from zoo.nodes import EXAMPLE, ZooCaption, comfy_entrypoint

    extension = asyncio.run(comfy_entrypoint())
    assert asyncio.run(extension.get_node_list()) == [ZooCaption]
    schema = ZooCaption.define_schema()
    assert schema.node_id == "ZooCaption"
    assert schema.inputs[0].default == EXAMPLE and schema.inputs[0].tooltip
    [[context, extras]] = ZooCaption.execute(EXAMPLE).args[0]
    assert torch.equal(context, embed(EXAMPLE).context)
    assert torch.equal(extras["pooled_output"], embed(EXAMPLE).pooled)

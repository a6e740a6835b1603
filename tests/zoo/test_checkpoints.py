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
FLUX, SD3, PIXART = (FOLDER / f"zoo_{name}.safetensors" for name in ("flux", "sd3", "pixart"))
VAE, NARROW_VAE = FOLDER / "zoo_vae_16ch.safetensors", FOLDER / "zoo_vae_4ch.safetensors"
MODELS = ("flux", "sd3", "pixart")


def _header(path):
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return header


@pytest.mark.parametrize(
    ("path", "limit"), [(FLUX, 12e6), (SD3, 14e6), (PIXART, 12e6), (VAE, 6e6), (NARROW_VAE, 6e6)]
)
def test_files_are_small_and_half_precision(path, limit):
    assert path.stat().st_size < limit
    assert {entry["dtype"] for entry in _header(path).values()} == {"F16"}


def test_flux_has_the_published_names_and_shapes():
    header = _header(FLUX)
    assert header["img_in.weight"]["shape"] == [128, 64]
    assert header["double_blocks.3.img_attn.norm.key_norm.scale"]["shape"] == [128]
    assert header["single_blocks.7.norm.query_norm.scale"]["shape"] == [128]
    assert not any(name.endswith("_norm.weight") or name.startswith("guidance_in") for name in header)


@pytest.mark.parametrize(("path", "channels"), [(VAE, 16), (NARROW_VAE, 4)])
def test_an_autoencoder_has_the_names_that_the_loader_looks_for(path, channels):
    header = _header(path)
    assert header["taesd_decoder.1.weight"]["shape"] == [64, channels, 3, 3]
    assert header["taesd_encoder.0.weight"]["shape"] == [64, 3, 3, 3]
    assert header["vae_scale"]["shape"] == header["vae_shift"]["shape"] == []


@pytest.fixture(scope="module", params=MODELS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def pipeline(host_folder, name):
    from zoo.sampling import load_pipeline

    return load_pipeline(name)


@pytest.mark.host
def test_a_model_loads_as_the_hosts_own_class(pipeline, name):
    network = pipeline.model.model.diffusion_model
    module = {
        "flux": "comfy.ldm.flux.model",
        "sd3": "comfy.ldm.modules.diffusionmodules.mmdit",
        "pixart": "comfy.ldm.pixart.pixartms",
    }[name]
    depths = {
        "flux": lambda: [len(network.double_blocks), len(network.single_blocks)],
        "sd3": lambda: [
            len(network.joint_blocks),
            sum(b.x_block.x_block_self_attn for b in network.joint_blocks),
        ],
        "pixart": lambda: [len(network.blocks)],
    }
    assert type(network).__module__ == module
    assert depths[name]() == {"flux": [4, 8], "sd3": [9, 4], "pixart": [10]}[name]


@pytest.mark.host
def test_the_autoencoder_keeps_held_out_pictures(pipeline):
    from zoo.rendering import render
    from zoo.scenes import sample_scene

    pictures = np.stack([render(sample_scene(1, index, "held-out"), 192) for index in range(4)])
    originals = torch.from_numpy(pictures).float() / 255.0
    latents = pipeline.vae.encode(originals).detach()
    assert latents.shape == (4, pipeline.channels, 24, 24)
    error = (pipeline.vae.decode(latents).detach() - originals).square().mean(dim=(1, 2, 3))
    assert float((-10.0 * error.log10()).mean()) > (24.0 if pipeline.channels == 16 else 20.0)
    seen_by_the_model = pipeline.model.model.process_latent_in(latents)
    assert 0.5 < float(seen_by_the_model.std()) < 1.5


@pytest.mark.host
def test_sampling_follows_the_caption(pipeline):
    from zoo.sampling import Request, decode, sample_latents

    words = "a large {} circle at the center, on plain {} with shadows"
    captions = [words.format(*colours) for colours in (("red", "ivory"), ("blue", "ivory"), ("red", "navy"))]
    requests = [Request(caption=caption, seed=3, steps=8) for caption in captions]
    red, blue, dark = pictures = decode(pipeline, sample_latents(pipeline, requests))
    assert pictures.shape == (3, pipeline.size, pipeline.size, 3)
    middle = slice(pipeline.size // 2 - 12, pipeline.size // 2 + 12)
    difference = (red - blue)[middle, middle].mean(dim=(0, 1))
    assert difference[0] > 0.2 > -0.2 > difference[2]
    assert (red - dark)[:16].mean() > 0.2


@pytest.mark.host
def test_a_batch_gives_the_pictures_of_single_runs(pipeline):
    from zoo.sampling import Request, sample_latents

    caption = "a small green star at the left, on sky and mint clouds with edges"
    requests = [Request(caption=text, seed=seed, steps=3) for text, seed in ((caption, 1), ("", 2))]
    together = sample_latents(pipeline, requests)
    alone = torch.cat([sample_latents(pipeline, [request]) for request in requests])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.host
def test_the_same_seed_gives_the_same_picture(pipeline):
    from zoo.sampling import Request, sample

    request = Request(
        caption="a small green star at the left, on sky and mint clouds with edges", seed=1, steps=3
    )
    assert torch.equal(sample(pipeline, request), sample(pipeline, request))


@pytest.mark.host
def test_unlike_requests_and_unknown_models_are_refused(pipeline):
    from zoo.sampling import Request, load_pipeline, sample_latents

    unlike = [Request(caption="", seed=0, steps=3), Request(caption="", seed=0, steps=4)]
    for requests in ([], unlike):
        with pytest.raises(ValueError, match="same steps, cfg, sampler and size"):
            sample_latents(pipeline, requests)
    with pytest.raises(ValueError, match="no model is called"):
        load_pipeline("sdxl")


@pytest.mark.host
def test_the_node_gives_the_caption_as_conditioning(host_folder):
    from zoo.captions import embed
    from zoo.nodes import EXAMPLE, ZooCaption, ZooDiffusionLoader, comfy_entrypoint

    extension = asyncio.run(comfy_entrypoint())
    assert asyncio.run(extension.get_node_list()) == [ZooCaption, ZooDiffusionLoader]
    schema = ZooCaption.define_schema()
    assert schema.node_id == "ZooCaption"
    assert schema.inputs[0].default == EXAMPLE and schema.inputs[0].tooltip
    [[context, extras]] = ZooCaption.execute(EXAMPLE).args[0]
    assert torch.equal(context, embed(EXAMPLE).context)
    assert torch.equal(extras["pooled_output"], embed(EXAMPLE).pooled)


@pytest.mark.host
def test_the_loader_node_lists_and_loads_the_hosts_model_files(host_folder, monkeypatch, tmp_path):
    import folder_paths
    from zoo.nodes import ZooDiffusionLoader

    (tmp_path / SD3.name).symlink_to(SD3)
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "diffusion_models", ([str(tmp_path)], {".safetensors"})
    )
    schema = ZooDiffusionLoader.define_schema()
    assert schema.node_id == "ZooDiffusionLoader"
    assert schema.inputs[0].options == [SD3.name] and schema.inputs[0].tooltip
    [model] = ZooDiffusionLoader.execute(SD3.name).args
    assert type(model.model).__name__ == "SD3"

"""The development loader: it builds the host's own classes narrow, and refuses every other file."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from zoo.architectures import (
    METADATA_KEY,
    ArchitectureError,
    PixArtArchitecture,
    SD3Architecture,
    read_architecture,
    to_metadata,
)

SMALL_SD3 = SD3Architecture(num_heads=1, num_blocks=2, num_dual_blocks=1, context_width=256, pooled_width=256)
SMALL_PIXART = PixArtArchitecture(width=64, num_heads=2, num_blocks=2, context_width=256, num_tokens=40)
SMALL = {"sd3": SMALL_SD3, "pixart": SMALL_PIXART}


@pytest.mark.parametrize("architecture", SMALL.values())
def test_an_architecture_survives_the_metadata(architecture):
    assert read_architecture(to_metadata(architecture)) == architecture


def _altered(architecture=SMALL_SD3, /, **changes):
    record = json.loads(to_metadata(architecture)[METADATA_KEY])
    return {METADATA_KEY: json.dumps({**record, **changes})}


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        (None, "has no"),
        ({"format": "pt"}, "has no"),
        ({METADATA_KEY: "{"}, "no JSON"),
        ({METADATA_KEY: "[1]"}, "family"),
        (_altered(family="flux"), "family"),
        (_altered(family=["sd3"]), "family"),
        (_altered(width=64), "describes"),
        (_altered(num_blocks=10**9), "must be whole numbers"),
        (_altered(num_blocks=-1), "must be whole numbers"),
        (_altered(num_heads=1.5), "must be whole numbers"),
        (_altered(num_heads="1"), "must be whole numbers"),
        (_altered(num_heads=0), "must be whole numbers"),
        (_altered(SMALL_PIXART, num_heads=5), "multiple of 4 and of its 5 heads"),
        ({METADATA_KEY: "[" * 100_000}, "no JSON"),
    ],
)
def test_other_metadata_is_refused(metadata, complaint):
    with pytest.raises(ArchitectureError, match=complaint):
        read_architecture(metadata)


def _weights(family):
    from zoo.loading import _configure

    config = _configure(SMALL[family])
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "").diffusion_model
    torch.manual_seed(0)
    return {name: torch.randn(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.host
@pytest.mark.parametrize("family", SMALL)
def test_a_file_loads_with_the_hosts_class_sampling_and_latents(host_folder, tmp_path, family):
    from comfy import latent_formats, model_base, model_sampling
    from zoo.loading import load_narrow

    weights = _weights(family)
    path = tmp_path / "model.safetensors"
    save_file({name: value.half() for name, value in weights.items()}, path, to_metadata(SMALL[family]))
    model = load_narrow(str(path)).model
    kinds = {
        "sd3": (model_base.SD3, latent_formats.SD3, model_sampling.ModelSamplingDiscreteFlow),
        "pixart": (model_base.PixArt, latent_formats.SDXL, model_sampling.ModelSamplingDiscrete),
    }
    base, latents, sampling = kinds[family]
    assert type(model) is base
    assert type(model.latent_format) is latents
    assert isinstance(model.model_sampling, sampling)
    for name, value in model.diffusion_model.state_dict().items():
        assert torch.equal(value.float(), weights[name].half().float()), name


@pytest.fixture
def narrow_file(host_folder, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(_weights("pixart"), path, to_metadata(SMALL_PIXART))
    return path


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path):
    path.write_bytes(b"")


def _replace_by_text(path):
    path.write_text("not a checkpoint")


def _forget_its_architecture(path):
    save_file(_weights("pixart"), path)


def _lose_a_weight(path):
    weights = _weights("pixart")
    del weights["t_block.1.weight"]
    save_file(weights, path, to_metadata(SMALL_PIXART))


def _gain_a_weight(path):
    save_file({**_weights("pixart"), "foreign": torch.ones(1)}, path, to_metadata(SMALL_PIXART))


def _claim_another_family(path):
    save_file(_weights("pixart"), path, to_metadata(SMALL_SD3))


def _claim_another_width(path):
    wide = PixArtArchitecture(width=128, num_heads=2, num_blocks=2, context_width=256, num_tokens=40)
    save_file(_weights("pixart"), path, to_metadata(wide))


@pytest.mark.host
@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_truncate, "cannot be loaded"),
        (_empty, "cannot be loaded"),
        (_replace_by_text, "cannot be loaded"),
        (_forget_its_architecture, "has no"),
        (_lose_a_weight, r"lacks 1 weights \(first: \['t_block.1.weight'\]\)"),
        (_gain_a_weight, r"has 1 others \(first: \['foreign'\]\)"),
        (_claim_another_family, "lacks"),
        (_claim_another_width, "has the shape"),
    ],
)
def test_damaged_and_foreign_files_are_refused_by_name(narrow_file, damage, complaint):
    from zoo.loading import CheckpointError, load_narrow

    damage(narrow_file)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_narrow(str(narrow_file))
    assert '"model.safetensors"' in str(caught.value)
    assert "Copy the file again" in str(caught.value)


@pytest.mark.host
def test_the_stock_flux_is_refused_with_the_node_that_loads_it(host_folder):
    from zoo.flux import FLUX
    from zoo.loading import CheckpointError, load_narrow

    with pytest.raises(CheckpointError, match='load with "Load Diffusion Model"'):
        load_narrow(str(FLUX.checkpoint))

"""Training of the host's own classes: initial weights, gradients through in-place blocks, names on disk."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.host


def _perturbed_flux():
    """A small Flux in double precision, off its initial weights so that every gate lets gradients through."""
    from zoo import flux

    torch.manual_seed(0)
    model = flux.build_flux()
    model.double_blocks, model.single_blocks = model.double_blocks[:1], model.single_blocks[:2]
    flux._prepare_for_training(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model.double()


@pytest.fixture
def training_mode(host_folder):
    import comfy.model_management

    yield
    comfy.model_management.in_training = False


def test_gradients_match_finite_differences(training_mode):
    from zoo import flux

    model = _perturbed_flux()
    latents, time = torch.randn(2, 16, 8, 8).double(), torch.tensor([0.3, 0.7]).double()
    context, pooled = torch.randn(2, 40, 256).double(), torch.randn(2, 256).double()
    parameters = list(model.parameters())
    direction = [torch.randn_like(parameter) for parameter in parameters]

    def loss():
        options = flux._training_options(0)
        return model(latents, time, context, pooled, transformer_options=options).square().mean()

    def loss_at(distance):
        with torch.no_grad():
            torch._foreach_add_(parameters, direction, alpha=distance)
            value = float(loss())
            torch._foreach_add_(parameters, direction, alpha=-distance)
        return value

    gradients = torch.autograd.grad(loss(), parameters)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    assert slope == pytest.approx((loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, rel=1e-4)


def test_a_fresh_flux_predicts_zero(host_folder):
    from zoo.flux import build_flux

    output = build_flux()(
        torch.randn(1, 16, 8, 8), torch.ones(1), torch.randn(1, 40, 256), torch.randn(1, 256)
    )
    assert output.shape == (1, 16, 8, 8)
    assert not output.any()


def test_flux_is_saved_under_the_published_names(host_folder, tmp_path):
    from zoo.flux import build_flux, save_flux

    model = build_flux()
    save_flux(dict(model.named_parameters()), tmp_path / "flux.safetensors")
    names = set(load_file(tmp_path / "flux.safetensors"))
    assert len(names) == len(list(model.parameters()))
    assert "single_blocks.0.norm.key_norm.scale" in names


def test_training_the_decoder_leaves_the_encoder_alone(host_folder):
    from zoo.autoencoder import DecoderTask, load_autoencoder

    task = DecoderTask(seed=1, num_workers=1)
    task.advance(0, 0.0)
    before, after = load_autoencoder().state_dict(), task.model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"taesd_decoder"}


def test_a_seed_fixes_the_training(host_folder):
    from zoo.autoencoder import AutoencoderTask

    losses = {AutoencoderTask(seed=3, num_workers=1).advance(0, 0.0)[0] for _ in range(2)}
    assert len(losses) == 1

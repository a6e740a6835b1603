"""Training of the host's own classes: initial weights, gradients through in-place blocks, names on disk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.host,
    # In bfloat16 autocast the norms of queries and keys keep float32 weights, on a slower path.
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),
]
MODELS = ("flux", "sd3", "pixart")


@pytest.fixture
def recipe(request, host_folder):
    import comfy.model_management
    from zoo.sampling import RECIPES

    yield RECIPES[request.param]
    comfy.model_management.in_training = False


each_model = pytest.mark.parametrize("recipe", MODELS, indirect=True)


def _tiny(recipe):
    """The recipe with one stage that is quick to encode and to train on."""
    from zoo.diffusion import Stage

    return replace(recipe, stages=(Stage(size=64, num_pictures=8, share=2, until=1.0),))


def _task(recipe, work):
    from zoo.diffusion import DiffusionTask

    return DiffusionTask(_tiny(recipe), seed=5, num_workers=2, work=work)


def _predict(recipe, model, latents, time, context, pooled):
    from zoo import flux, pixart, sd3

    if recipe.name == "pixart":
        return pixart.predict_noise(model, latents, time, context)
    options = flux.training_options(128) if recipe.name == "flux" else sd3.TRAINING_OPTIONS
    return model(latents, time, context, pooled, transformer_options=options)


def _perturbed(recipe):
    """Two blocks in double precision, off their initial weights so that every gate lets gradients through."""
    torch.manual_seed(0)
    model = recipe.build()
    for name in ("double_blocks", "single_blocks", "joint_blocks", "blocks"):
        if hasattr(model, name):
            del getattr(model, name)[1:-1]
    recipe.prepare(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model.double()


@each_model
def test_gradients_match_finite_differences(recipe):
    model = _perturbed(recipe)
    latents = torch.randn(2, recipe.autoencoder.channels, 8, 8).double()
    time = torch.tensor([0.3, 0.7]).double()
    context, pooled = torch.randn(2, 40, 256).double(), torch.randn(2, 256).double()
    parameters = list(model.parameters())
    direction = [torch.randn_like(parameter) for parameter in parameters]

    def loss():
        return _predict(recipe, model, latents, time, context, pooled).square().mean()

    def loss_at(distance):
        with torch.no_grad():
            torch._foreach_add_(parameters, direction, alpha=distance)
            value = float(loss())
            torch._foreach_add_(parameters, direction, alpha=-distance)
        return value

    gradients = torch.autograd.grad(loss(), parameters)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    assert slope == pytest.approx((loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, rel=1e-4)


@each_model
def test_the_prepared_model_computes_what_the_hosts_does(recipe):
    host, ours = recipe.build().eval(), recipe.build().eval()
    for parameter in host.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    ours.load_state_dict(host.state_dict())
    recipe.prepare(ours)
    side = recipe.size // 8
    latents, time = torch.randn(2, recipe.autoencoder.channels, side, side), torch.tensor([0.2, 0.9])
    context, pooled = torch.randn(2, 40, 256), torch.randn(2, 256)
    with torch.no_grad():
        expected = (
            host(latents, time, context) if recipe.name == "pixart" else host(latents, time, context, pooled)
        )
        # At the sampling size nothing is stretched.
        given = (
            ours(latents, time, context, pooled)
            if recipe.name == "flux"
            else _predict(recipe, ours, latents, time, context, pooled)
        )
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


@each_model
def test_a_fresh_model_predicts_zero(recipe):
    latents = torch.randn(1, recipe.autoencoder.channels, 34, 34)
    output = recipe.build().eval()(latents, torch.ones(1), torch.randn(1, 40, 256), torch.randn(1, 256))
    assert output.shape == latents.shape
    assert not output.any()


@each_model
def test_training_lowers_the_loss_of_a_fixed_batch(recipe, tmp_path):
    task = _task(recipe, tmp_path)
    before = float(task._loss(0, 0).detach())
    for step in range(12):
        # As late as the end of the warm-up, so that few steps are enough.
        task.advance(200 + step, 0.0)
    assert float(task._loss(0, 0).detach()) < 0.9 * before


@each_model
def test_a_resumed_training_is_the_uninterrupted_one(recipe, tmp_path):
    whole, first, second = (_task(recipe, tmp_path) for _ in range(3))
    for step in range(4):
        whole.advance(step, step / 4)
    for step in range(2):
        first.advance(step, step / 4)
    torch.save(first.state(), tmp_path / "state.pt")
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in range(2, 4):
        second.advance(step, step / 4)
    for name, value in whole.average.tensors.items():
        assert torch.equal(second.average.tensors[name], value), name


@each_model
def test_every_parameter_has_one_optimiser(recipe):
    from zoo.diffusion import build_optimizers

    model = recipe.build()
    held = [
        id(parameter)
        for optimizer in build_optimizers(model, 2)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())


@each_model
def test_training_further_starts_from_the_file(recipe, tmp_path):
    first, second = _task(recipe, tmp_path), _task(recipe, tmp_path)
    first.advance(200, 0.0)
    first.export(tmp_path / "weights.safetensors")
    second.start_from(tmp_path / "weights.safetensors")
    for name, value in second.model.named_parameters():
        assert torch.equal(value, first.average.tensors[name].half().float()), name


def test_flux_is_saved_under_the_published_names(host_folder, tmp_path):
    from zoo.flux import FLUX

    _task(FLUX, tmp_path).export(tmp_path / "flux.safetensors")
    names = set(load_file(tmp_path / "flux.safetensors"))
    assert len(names) == len(list(FLUX.build().parameters()))
    assert "single_blocks.0.norm.key_norm.scale" in names


def test_training_the_decoder_leaves_the_encoder_alone(host_folder):
    from zoo.autoencoder import VAE_16CH, DecoderTask, load_autoencoder

    task = DecoderTask(seed=1, num_workers=1)
    task.advance(0, 0.0)
    before, after = load_autoencoder(VAE_16CH).state_dict(), task.model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"taesd_decoder"}


def test_the_narrow_autoencoder_starts_as_the_wide_one_but_for_its_bottleneck(host_folder):
    from zoo.autoencoder import VAE_16CH, NarrowAutoencoderTask, load_autoencoder

    source = load_autoencoder(VAE_16CH).state_dict()
    own = NarrowAutoencoderTask(seed=1, num_workers=1).model.state_dict()
    differing = {
        name
        for name, value in own.items()
        if value.shape != source[name].shape or not torch.equal(value, source[name])
    }
    assert differing == {"taesd_encoder.14.weight", "taesd_encoder.14.bias", "taesd_decoder.1.weight"}


def test_a_seed_fixes_the_training(host_folder):
    from zoo.autoencoder import AutoencoderTask

    losses = {AutoencoderTask(seed=3, num_workers=1).advance(0, 0.0)[0] for _ in range(2)}
    assert len(losses) == 1

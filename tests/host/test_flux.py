"""What is particular to Flux: mixed decisions inside a block, half precision, reference images, ControlNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import oracle
import partial
import pytest
import real
import torch

STEPS = 6
FULL = set(range(0, STEPS, 2))


@pytest.mark.parametrize(
    "parts",
    [
        {"img_attn", "txt_attn"},
        {"img_mlp", "txt_mlp"},
        {"img_attn", "txt_attn", "txt_mlp"},
        {"img_attn"},
        {"txt_attn", "img_mlp"},
        {"attn_mlp"},
    ],
    ids="+".join,
)
def test_any_mix_of_branches_equals_the_oracle(host: real.Host, flux: Any, parts: set[str]) -> None:
    binding = host.module("nodes.host")
    model = binding.attach(
        flux, binding.CacheBinding(partial.some_parts(host.module("cache_core"), parts, FULL), 0.0, 1.0)
    )
    actual = real.sample(model, steps=STEPS, cfg=4.0)
    with oracle.replayed("flux", real.network_of(flux), "module", FULL, parts):
        expected = real.sample(flux, steps=STEPS, cfg=4.0)
    assert torch.equal(actual, expected)
    assert not torch.equal(expected, real.sample(flux, steps=STEPS, cfg=4.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_bit_identical_and_equals_the_oracle(
    host: real.Host, cached: Callable[..., Any], dtype: torch.dtype
) -> None:
    flux = real.random_flux(compute=dtype)
    seen: set[torch.dtype] = set()
    block = real.network_of(flux).single_blocks[0]
    block.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    _assert_oracle(flux, cached, "module")
    assert seen == {dtype}


def test_half_precision_overflow_is_cut_off_where_the_host_cuts_it(host: real.Host) -> None:
    """A replayed block bounds its stream as the host's block does, also where a cached branch overflows it."""
    flux = host.module("cache_core.adapters.flux")
    stream = torch.tensor([float("inf"), float("-inf"), float("nan"), 1.0], dtype=torch.float16)
    assert flux._bounded(stream).tolist() == [65504.0, -65504.0, 0.0, 1.0]
    assert flux._bounded(stream.float()).isnan().any()


@pytest.mark.parametrize("level", ["module", "block", "stack"])
@pytest.mark.parametrize(
    ("family", "method"),
    [("flux", "offset"), ("flux", "index"), ("flux2", "index"), ("flux2", "index_timestep_zero")],
)
def test_reference_images_equal_the_oracle(
    host: real.Host, cached: Callable[..., Any], family: str, method: str, level: str
) -> None:
    """Reference latents are more image tokens; with `index_timestep_zero` these have a modulation of their own."""
    import node_helpers

    model = real.random_flux() if family == "flux" else real.random_flux2()
    latent = torch.randn(1, *real.latent_shape(model), generator=torch.Generator().manual_seed(5))
    values = {"reference_latents": [latent], "reference_latents_method": method}
    positive = node_helpers.conditioning_set_values(real.conditioning(1), values)
    _assert_oracle(model, cached, level, positive=positive)


def _assert_oracle(model: Any, cached: Callable[..., Any], level: str, **options: Any) -> None:
    """Interval 1 is the plain model to the bit, interval 2 the oracle: to the bit at level "module"."""
    plain = real.sample(model, steps=STEPS, **options)
    assert torch.equal(real.sample(cached(model, level=level, interval=1), steps=STEPS, **options), plain)
    with oracle.replayed("flux", real.network_of(model), level, oracle.fora_full_calls(STEPS, 2, "end")):
        expected = real.sample(model, steps=STEPS, **options)
    actual = real.sample(cached(model, level=level, interval=2), steps=STEPS, **options)
    assert not torch.equal(expected, plain)
    if level == "module":
        assert torch.equal(actual, expected)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("level", ["module", "block", "stack"])
def test_control_residuals_are_added_once(flux: Any, cached: Callable[..., Any], level: str) -> None:
    """The host adds control residuals in place between the blocks, whether these ran or not."""
    control = _Control()
    positive = [[real.conditioning(1)[0][0], real.conditioning(1)[0][1] | {"control": control}]]
    plain = real.sample(flux, steps=STEPS)
    assert not torch.equal(plain, real.sample(flux, steps=STEPS, positive=positive)), (
        "the control must do something"
    )
    _assert_oracle(flux, cached, level, positive=positive)


@pytest.mark.parametrize("block", [("double_block", 0), ("single_block", 2)])
def test_an_end_of_the_stack_that_is_gone_in_a_reused_call_is_an_error_not_a_picture(
    flux: Any, cached: Callable[..., Any], block: tuple[str, int]
) -> None:
    """Another node's replacement that runs the block in one call and not in the next, without saying so."""
    calls = 0

    def replacement(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            return {name: args[name] for name in ("img", "txt") if name in args}
        result: dict[str, Any] = extra["original_block"](args)
        return result

    model = cached(flux, level="stack", interval=2, anchor="start")
    model.set_model_patch_replace(replacement, "dit", *block)
    with pytest.raises(ValueError, match=r"blocks.0.residual.*another node replaced the first or last"):
        real.sample(model, steps=4)


class _Control:
    """What the sampler asks of a ControlNet, with a constant residual for every block."""

    def __init__(self) -> None:
        self.multigpu_clones: dict[Any, Any] = {}

    previous_controlnet = None
    strength = 1.0
    timestep_range = None
    extra_hooks = None

    def get_control(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> dict[str, list[torch.Tensor]]:
        tokens = (x.shape[-2] // 2) * (x.shape[-1] // 2)
        generator = torch.Generator().manual_seed(9)
        residuals = [0.5 * torch.randn(x.shape[0], tokens, 128, generator=generator) for _ in range(2)]
        return {"input": residuals, "output": residuals}

    def pre_run(self, *args: Any) -> None:
        pass

    def cleanup(self) -> None:
        pass

    def copy(self) -> _Control:
        return self

    def get_models(self) -> list[Any]:
        return []

    def get_extra_hooks(self) -> list[Any]:
        return []

    def inference_memory_requirements(self, dtype: Any) -> int:
        return 0

    def set_previous_controlnet(self, previous: Any) -> _Control:
        return self

"""What is particular to PixArt: three plain branches, replayed only where all are reused."""

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
    [{"attn"}, {"cross_attn"}, {"mlp"}, {"attn", "mlp"}, {"attn", "cross_attn", "mlp"}],
    ids=lambda parts: "+".join(sorted(parts)),
)
def test_any_mix_of_branches_equals_the_oracle(host: real.Host, parts: set[str]) -> None:
    pixart, binding = real.random_pixart(), host.module("nodes.host")
    model = binding.attach(
        pixart, binding.CacheBinding(partial.some_parts(host.module("cache_core"), parts, FULL), 0.0, 1.0)
    )
    actual = real.sample(model, steps=STEPS, cfg=4.0)
    with oracle.replayed("pixart", real.network_of(pixart), "module", FULL, parts):
        expected = real.sample(pixart, steps=STEPS, cfg=4.0)
    assert torch.equal(actual, expected)
    assert not torch.equal(expected, real.sample(pixart, steps=STEPS, cfg=4.0))


def test_a_reused_block_runs_none_of_its_modules(host: real.Host, cached: Callable[..., Any]) -> None:
    """Norms and modulation are left out too: nothing but gates and adds."""
    pixart, runs = real.random_pixart(), 0

    def count(*args: Any) -> None:
        nonlocal runs
        runs += 1

    for block in real.network_of(pixart).blocks:
        for module in (block.norm1, block.norm2, block.attn, block.cross_attn, block.mlp):
            module.register_forward_hook(count)
    model = cached(pixart, interval=2, anchor="start")
    real.sample(model, steps=STEPS)
    assert runs == 5 * len(real.network_of(pixart).blocks) * len(FULL)


@pytest.mark.parametrize("fault", ["norm1", "mlp"])
def test_a_subclass_without_the_named_modules_is_refused(
    host: real.Host, cached: Callable[..., Any], fault: str
) -> None:
    pixart = real.random_pixart()
    network = real.network_of(pixart)

    class Changed(type(network)):  # type: ignore[misc]
        pass

    network.__class__ = Changed
    cached(pixart)
    delattr(network.blocks[1], fault)
    with pytest.raises(
        ValueError, match=rf"Changed.*PixArtMS' but blocks.1 has no sub-module '{fault}'.*remove"
    ):
        cached(pixart)


def test_a_subclass_with_another_signature_is_refused(host: real.Host, cached: Callable[..., Any]) -> None:
    pixart = real.random_pixart()
    block = real.network_of(pixart).blocks[0]

    class Renamed(type(block)):  # type: ignore[misc]
        def forward(self, tokens: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return super().forward(tokens, *args, **kwargs)

    block.__class__ = Renamed
    with pytest.raises(ValueError, match=r"blocks.0 takes no argument 'x'; blocks.0 takes no argument 't'"):
        cached(pixart)


def test_another_architecture_is_refused_with_its_class_and_what_is_supported(
    host: real.Host, cached: Callable[..., Any], flux: Any
) -> None:
    flux.model.diffusion_model = torch.nn.Linear(1, 1)
    with pytest.raises(
        ValueError, match=r"'torch.nn.modules.linear.Linear'.*Supported families: .*flux.*pixart.*sd3"
    ):
        cached(flux)


@pytest.mark.parametrize("level", ["module", "block", "stack", "model"])
def test_alpha_is_cached_as_sigma(host: real.Host, cached: Callable[..., Any], level: str) -> None:
    """PixArt-alpha has the same blocks; size and aspect ratio join its timestep."""
    import comfy.supported_models

    # Size and the two sides share the width by three.
    changes = {"image_model": "pixart_alpha", "micro_condition": True, "hidden_size": 96}
    config = real.PIXART_CONFIG | changes
    alpha = real._build(comfy.supported_models.PixArtAlpha, config, 0)
    assert real.network_of(alpha).micro_conditioning
    plain = real.sample(alpha, steps=STEPS, cfg=4.0)
    assert torch.equal(real.sample(cached(alpha, level=level, interval=1), steps=STEPS, cfg=4.0), plain)
    actual = real.sample(cached(alpha, level=level, interval=2, anchor="start"), steps=STEPS, cfg=4.0)
    with oracle.replayed("pixart", real.network_of(alpha), level, FULL):
        expected = real.sample(alpha, steps=STEPS, cfg=4.0)
    assert not torch.equal(expected, plain)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))

"""What is particular to SD3: two streams, a last block that ends one of them, and a second attention in some blocks."""

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
ATTENTION = {"img_attn", "txt_attn", "img_attn2"}


@pytest.mark.parametrize(
    "parts",
    [
        ATTENTION,
        ATTENTION | {"img_mlp"},
        ATTENTION | {"txt_mlp"},
        {"img_attn", "txt_attn"},
        {"img_attn2"},
        {"img_mlp", "txt_mlp"},
    ],
    ids=lambda parts: "+".join(sorted(parts)),
)
def test_any_mix_of_branches_equals_the_oracle(host: real.Host, parts: set[str]) -> None:
    sd3, binding = real.random_sd3(), host.module("nodes.host")
    policy = partial.some_parts(host.module("cache_core"), parts, FULL)
    model = binding.attach(sd3, binding.CacheBinding(policy, 0.0, 1.0))
    actual = real.sample(model, steps=STEPS, cfg=4.0)
    with oracle.replayed("sd3", real.network_of(sd3), "module", FULL, parts):
        expected = real.sample(sd3, steps=STEPS, cfg=4.0)
    assert torch.equal(actual, expected)
    assert not torch.equal(expected, real.sample(sd3, steps=STEPS, cfg=4.0))


def test_a_reused_block_runs_only_what_makes_its_gates(host: real.Host, cached: Callable[..., Any]) -> None:
    sd3, runs = real.random_sd3(), 0

    def count(*args: Any) -> None:
        nonlocal runs
        runs += 1

    watched = [
        module
        for name, module in real.network_of(sd3).joint_blocks.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.LayerNorm) and "adaLN" not in name
    ]
    for module in watched:
        module.register_forward_hook(count)
    real.sample(sd3, steps=1)
    per_call, runs = runs, 0
    assert per_call > 0
    real.sample(cached(sd3, interval=2, anchor="start"), steps=STEPS)
    assert runs == per_call * len(FULL)


def test_a_model_modulated_without_shifts_is_refused(host: real.Host, cached: Callable[..., Any]) -> None:
    sd3 = real.random_sd3()
    real.network_of(sd3).joint_blocks[1].x_block.scale_mod_only = True
    with pytest.raises(
        ValueError, match=r"OpenAISignatureMMDITWrapper.*joint_blocks.1 is modulated without shifts"
    ):
        cached(sd3)

"""First Block Cache against an oracle of its own: its feature begins after the first block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import real
import torch

STEPS = 6


@contextmanager
def replayed(network: Any, full_calls: set[int]) -> Iterator[None]:
    """Make Flux hand back, outside of `full_calls`, what the blocks after the first added to the image last time."""
    call, entered, residual = -1, torch.empty(0), torch.empty(0)

    def count(module: Any, args: Any) -> None:
        nonlocal call
        call += 1

    def after_first(module: Any, args: Any, output: Any) -> None:
        nonlocal entered
        entered = output[0].clone()

    def after_last(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        nonlocal residual
        text = output.shape[1] - entered.shape[1]
        if call in full_calls:
            residual = output[:, text:] - entered
            return output
        return torch.cat([output[:, :text], entered + residual], dim=1)

    handles = [
        network.register_forward_pre_hook(count),
        network.double_blocks[0].register_forward_hook(after_first),
        network.single_blocks[-1].register_forward_hook(after_last),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_reuse_adds_what_the_blocks_after_the_first_added(
    host: real.Host, report: Callable[[Any], Any], cfg: float
) -> None:
    plain, node = real.random_flux(), host.nodes["TeaCacheThreshold"]
    settings = {"indicator": "first_block", "threshold": 10.0, "warmup": 1, "max_consecutive": 2}
    model = node.execute(plain, settings, start_percent=0.0, end_percent=1.0)[0]
    actual = real.sample(model, steps=STEPS, cfg=cfg)
    full = {call.index for call in report(model).calls if call.full}
    assert full == {0, 3}
    with replayed(real.network_of(plain), full):
        expected = real.sample(plain, steps=STEPS, cfg=cfg)
    assert not torch.equal(expected, real.sample(plain, steps=STEPS, cfg=cfg)), (
        "the oracle must have reused something"
    )
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))

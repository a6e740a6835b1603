"""ComfyUI's multi-GPU split: a thread per device without our node, one pass after the other with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import real
import torch

STEPS = 6


def _split(model: Any) -> Any:
    """Return a clone of a MODEL that the host splits: the second device is the CPU by its number."""
    if not hasattr(model, "match_multigpu_clones"):
        pytest.skip("this ComfyUI has no multi-GPU split")
    first, second = model.clone(), real.random_flux()
    second.load_device = torch.device("cpu", 0)
    second.is_multigpu_base_clone = True
    first.set_additional_models("multigpu", [second])
    return first


def _watched(model: Any) -> tuple[Any, list[tuple[int, int]]]:
    """Return a clone and the (thread, index of the prompt) of every pass that it will make."""
    from comfy.patcher_extension import WrappersMP

    seen: list[tuple[int, int]] = []

    def note(executor: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((threading.get_ident(), args[5]["cond_or_uncond"][0]))
        return executor(*args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "watch", note)
    return clone, seen


def test_the_host_has_a_thread_per_device_without_our_node(flux: Any) -> None:
    """What the next test rests on."""
    model, seen = _watched(_split(flux))
    real.sample(model, steps=2, cfg=4.0)
    threads = {thread for thread, _ in seen}
    assert len(threads) == 2 and threading.get_ident() not in threads


@pytest.mark.parametrize("level", ["module", "stack"])
def test_passes_come_one_after_the_other_with_it(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any], level: str
) -> None:
    whole = cached(flux, level=level, interval=2)
    expected = real.sample(whole, steps=STEPS, cfg=4.0)
    model, seen = _watched(cached(_split(flux), level=level, interval=2))
    actual = real.sample(model, steps=STEPS, cfg=4.0)
    assert {thread for thread, _ in seen} == {threading.get_ident()}
    assert [index for _, index in seen] == [index for _, index in seen[:2]] * STEPS
    assert [c.reused for c in report(model).calls] == [c.reused for c in report(whole).calls]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_options_of_the_sampler_are_left_as_they_are(host: real.Host) -> None:
    options = {"multigpu_thread_pool": object(), "transformer_options": {}}
    given = dict(options)
    with host.module("nodes.devices").one_after_the_other(options, torch.zeros(1)) as alone:
        assert alone == {"transformer_options": {}}
    assert options == given
    with host.module("nodes.devices").one_after_the_other(None, torch.zeros(1)) as alone:
        assert alone is None

"""torch.compile through the host's own wrapper, in both orders of the two nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import real
import torch

STEPS = 6


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


def _compiled(model: Any, backend: Any, keys: Sequence[str] = ("diffusion_model",)) -> Any:
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    clone = model.clone()
    # As the stock node does it: guards on the options would compile every call anew.
    keep = {"guard_filter_fn": lambda entries: ["transformer_options" not in entry.name for entry in entries]}
    options = keep if backend != "eager" else None
    set_torch_compile_wrapper(model=clone, backend=backend, options=options, keys=list(keys))
    return clone


@pytest.mark.slow
@pytest.mark.parametrize("level", ["module", "block", "stack", "model"])
@pytest.mark.parametrize("order", ["cache first", "compile first"])
def test_compiled_and_cached_is_cached(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any], level: str, order: str
) -> None:
    expected_model = cached(flux, level=level)
    expected = real.sample(expected_model, steps=STEPS, cfg=4.0)
    backend = "aot_eager"
    both = (
        _compiled(cached(flux, level=level), backend)
        if order == "cache first"
        else cached(_compiled(flux, backend), level=level)
    )
    actual = real.sample(both, steps=STEPS, cfg=4.0)
    assert [c.reused for c in report(both).calls] == [c.reused for c in report(expected_model).calls]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert real.instance_forwards(flux) == []


@pytest.mark.slow
@pytest.mark.parametrize("level", ["module", "block", "stack"])
@pytest.mark.parametrize("order", ["cache first", "compile first"])
def test_blocks_that_are_compiled_one_by_one_are_looked_through(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any], level: str, order: str
) -> None:
    """As packs do it that compile transformer blocks only, with the host's own function."""
    expected_model = cached(flux, level=level)
    expected = real.sample(expected_model, steps=4)
    keys = [name for name, module in flux.model.named_modules() if "Block" in type(module).__name__]
    both = (
        _compiled(cached(flux, level=level), "eager", keys)
        if order == "cache first"
        else cached(_compiled(flux, "eager", keys), level=level)
    )
    actual = real.sample(both, steps=4)
    assert len(keys) == 5
    assert [c.reused for c in report(both).calls] == [c.reused for c in report(expected_model).calls]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert real.instance_forwards(flux) == []


@pytest.mark.slow
@pytest.mark.parametrize("level", ["module", "block", "stack"])
def test_graphs_are_compiled_once_and_not_in_every_call(
    flux: Any, cached: Callable[..., Any], level: str
) -> None:
    graphs = 0

    def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    from torch._dynamo.backends.registry import register_backend

    register_backend(counting, name=f"counting_{level}")
    model = _compiled(cached(flux, level=level, interval=2), f"counting_{level}")
    real.sample(model, steps=4)
    first = graphs
    real.sample(model, steps=8)
    assert first > 0
    assert graphs == first


def test_the_log_says_once_that_blocks_run_uncompiled(
    flux: Any, cached: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once per run, also where a call has several passes: here one for each prompt."""
    monkeypatch.setattr(flux.model, "memory_required", lambda *args, **kwargs: 1e30)
    real.sample(_compiled(cached(flux), "eager"), steps=2, cfg=4.0)
    assert len([record for record in caplog.records if "run uncompiled" in record.getMessage()]) == 1
    caplog.clear()
    real.sample(cached(flux), steps=2)
    assert not [record for record in caplog.records if "run uncompiled" in record.getMessage()]

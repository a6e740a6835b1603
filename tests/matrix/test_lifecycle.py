"""What happens to models between runs and around them: unloading, sharing, previews, streaming, compiling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import real
import torch
from cells.base import FAMILIES, LEVELS, MODELS, ksampler
from cells.conditioning import with_lora
from stock import stock

GROUP = "models between and around runs"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its models: in the core one level, with --matrix all."""
    wide = metafunc.config.getoption("--matrix")
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", FAMILIES)
    if "level" in metafunc.fixturenames:
        metafunc.parametrize("level", LEVELS if wide else ("module",))


def test_a_model_unloaded_between_runs(
    host: real.Host, attach: Callable[..., Any], family: str, level: str
) -> None:
    import comfy.model_management

    plain = MODELS[family]()
    model = attach(plain, level=level)
    first = ksampler(model)
    comfy.model_management.unload_all_models()
    assert torch.equal(ksampler(model), first)


def test_a_model_pushed_out_by_another_between_runs(
    host: real.Host, attach: Callable[..., Any], family: str, level: str
) -> None:
    import comfy.model_management

    model = attach(MODELS[family](), level=level)
    first = ksampler(model)
    comfy.model_management.free_memory(1e30, comfy.model_management.get_torch_device())
    ksampler(MODELS["flux"]())
    assert torch.equal(ksampler(model), first)


def test_two_cached_models_in_one_graph(
    host: real.Host, attach: Callable[..., Any], last: Callable[[Any], Any], family: str, level: str
) -> None:
    """Two loaders, two caches, run by turns: each as if alone, each with its own report."""
    one = attach(MODELS[family](), level=level, interval=2)
    other = attach(MODELS["flux"](), level=level, interval=3)
    alone = ksampler(one), ksampler(other)
    together = ksampler(one), ksampler(other), ksampler(one)
    assert torch.equal(together[0], alone[0]) and torch.equal(together[2], alone[0])
    assert torch.equal(together[1], alone[1])
    assert "interval=2" in last(one).settings and "interval=3" in last(other).settings


def test_two_caches_on_clones_of_one_model(
    host: real.Host, attach: Callable[..., Any], family: str, level: str
) -> None:
    plain = MODELS[family]()
    two, three = attach(plain, level=level, interval=2), attach(plain, level=level, interval=3)
    first = ksampler(two), ksampler(three)
    assert not torch.equal(*first)
    assert torch.equal(ksampler(two), first[0]) and torch.equal(ksampler(three), first[1])


def test_one_model_with_and_without_cache(
    host: real.Host, attach: Callable[..., Any], family: str, level: str
) -> None:
    plain = MODELS[family]()
    uncached = ksampler(plain)
    model = attach(plain, level=level)
    cached = ksampler(model)
    assert torch.equal(ksampler(plain), uncached) and torch.equal(ksampler(model), cached)
    assert plain.wrappers == {}


def test_a_lora_on_one_branch_of_the_graph_only(
    host: real.Host, attach: Callable[..., Any], family: str, level: str
) -> None:
    """The same cached MODEL, with and without a LoRA behind it: weights change between the runs."""
    model = attach(MODELS[family](), level=level)
    changed = with_lora(model, family)
    without, with_it = ksampler(model), ksampler(changed)
    assert not torch.equal(without, with_it)
    assert torch.equal(ksampler(model), without) and torch.equal(ksampler(changed), with_it)


@pytest.mark.parametrize("lora", [False, True], ids=["", "with a LoRA"])
def test_a_model_that_does_not_fit_the_device(
    host: real.Host,
    attach: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    level: str,
    lora: bool,
) -> None:
    """The host's own partial loading, told that next to nothing fits: every layer fetches and patches its weights."""
    from comfy.model_patcher import ModelPatcher

    plain = MODELS[family]()
    line = partial(with_lora, family=family) if lora else lambda model: model
    load = ModelPatcher.load

    def load_little(self: Any, device_to: Any = None, lowvram_model_memory: int = 0, **options: Any) -> Any:
        return load(self, device_to, lowvram_model_memory=1, **options | {"full_load": False})

    monkeypatch.setattr(ModelPatcher, "load", load_little)
    uncached = ksampler(line(plain))
    assert any(getattr(module, "comfy_cast_weights", False) for module in real.network_of(plain).modules())
    assert torch.equal(ksampler(attach(line(plain), level=level, interval=1)), uncached)
    model = attach(line(plain), level=level, interval=2)
    cached = ksampler(model)
    assert not torch.equal(cached, uncached)
    assert torch.equal(ksampler(model), cached)
    assert torch.equal(ksampler(line(plain)), uncached)


def test_previews_show_every_step(
    host: real.Host, attach: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, family: str, level: str
) -> None:
    """With previews on, each step sends a picture of its own, and the latent stays as it is without.

    At level "model" a reused output points to where the one before did, so only the full calls show something new.
    """
    import comfy.utils
    from comfy.cli_args import LatentPreviewMethod, args

    model = attach(MODELS[family](), level=level)
    expected = ksampler(model)
    shown: list[Any] = []
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **rest: shown.append(preview)
    )
    assert torch.equal(ksampler(model), expected)
    pictures = [preview[1] for preview in shown if preview is not None]
    assert len(pictures) == 5
    assert len({picture.tobytes() for picture in pictures}) >= (3 if level == "model" else 5)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["cache first", "compile first"])
def test_the_stock_compile_node(
    host: real.Host,
    attach: Callable[..., Any],
    last: Callable[[Any], Any],
    order: str,
    family: str,
    level: str,
) -> None:
    """TorchCompileModel itself, with a backend that needs no compiler; tests/host/test_compile.py has the rest."""
    torch._dynamo.reset()
    plain = MODELS[family]()
    expected_model = attach(plain, level=level)
    expected = ksampler(expected_model)
    compile_node = partial(stock, "TorchCompileModel", backend="eager")
    if order == "cache first":
        both = compile_node(model=attach(plain, level=level))[0]
    else:
        both = attach(compile_node(model=plain)[0], level=level)
    actual = ksampler(both)
    assert [call.reused for call in last(both).calls] == [call.reused for call in last(expected_model).calls]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))

"""Runs that break off: an interrupt at every step, an exception or a lack of memory at every block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import real
import torch
from cells.base import FAMILIES, LEVELS, MODELS, STEPS, ksampler
from oracle import fora_full_calls

GROUP = "runs that break off"
BLOCKS: dict[str, Callable[[Any], list[torch.nn.Module]]] = {
    "flux": lambda network: [*network.double_blocks, *network.single_blocks],
    "sd3": lambda network: list(network.joint_blocks),
    "pixart": lambda network: list(network.blocks),
}
ERRORS: dict[str, Callable[[], BaseException]] = {
    "error": lambda: RuntimeError("stop here"),
    "out of memory": lambda: torch.OutOfMemoryError("stop here"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its places: in the core one level of one family, with --matrix all."""
    wide = metafunc.config.getoption("--matrix")
    families = FAMILIES if wide else ("flux",)
    levels = LEVELS if wide else ("module", "stack")
    if {"family", "level"} <= set(metafunc.fixturenames):
        pairs = [(family, level) for family in families for level in levels]
        metafunc.parametrize(("family", "level"), pairs, scope="module")


class Scene:
    """A plain and a cached MODEL and their latents, before anything breaks."""

    def __init__(self, family: str, level: str, attach: Callable[..., Any]) -> None:
        self.plain, self.level = MODELS[family](), level
        self.model = attach(self.plain, level=level, interval=2)
        self.blocks = BLOCKS[family](real.network_of(self.plain))
        self.uncached, self.cached = ksampler(self.plain), ksampler(self.model)

    def check(self, report: Any) -> None:
        """Hold that the broken run left nothing behind and the next ones are what they were."""
        assert report.end_bytes == 0
        assert real.instance_forwards(self.plain) == []
        assert torch.equal(ksampler(self.plain), self.uncached)
        assert torch.equal(ksampler(self.model), self.cached)


@pytest.fixture(scope="module")
def scene(host: real.Host, family: str, level: str, attach: Callable[..., Any]) -> Iterator[Scene]:
    """Return the models of a family at a level."""
    yield Scene(family, level, attach)


@pytest.mark.parametrize("at", range(STEPS - 1))
def test_an_interrupt_leaves_nothing(
    scene: Scene, last: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The stop button, pressed while step `at` ends: the host raises in the middle of the next one."""
    import comfy.model_management
    import latent_preview

    prepare = latent_preview.prepare_callback

    def pressing(*args: Any, **kwargs: Any) -> Callable[..., None]:
        inner = prepare(*args, **kwargs)

        def callback(step: int, *rest: Any) -> None:
            inner(step, *rest)
            if step == at:
                comfy.model_management.interrupt_current_processing()

        return callback

    with monkeypatch.context() as patch:
        patch.setattr(latent_preview, "prepare_callback", pressing)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            ksampler(scene.model)
    assert len(last(scene.model).calls) == _broken_call(scene.level, at) + 1
    scene.check(last(scene.model))


def test_an_interrupt_in_the_first_step_leaves_nothing(scene: Scene, last: Callable[[Any], Any]) -> None:
    """Pressed while the first block runs: nothing has been kept of any block by then, or of some only."""
    import comfy.model_management

    def press(*args: Any) -> None:
        comfy.model_management.interrupt_current_processing()

    handle = scene.blocks[0].register_forward_pre_hook(press)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        ksampler(scene.model)
    handle.remove()
    comfy.model_management.interrupt_current_processing(False)
    assert len(last(scene.model).calls) == 1
    scene.check(last(scene.model))


def _broken_call(level: str, at: int) -> int:
    """Return the call that the host interrupts after step `at`: the next that runs a layer, where the host looks.

    At level "model" a reused call runs none, so it ends and the next full one breaks off.
    """
    full = fora_full_calls(STEPS, 2, "end") if level == "model" else range(STEPS)
    return min(call for call in full if call > at)


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("reused", [False, True], ids=["computed call", "reused call"])
def test_an_exception_at_any_block_leaves_nothing(
    scene: Scene, last: Callable[[Any], Any], kind: str, reused: bool
) -> None:
    call = 3 if reused else 2
    for block in scene.blocks:
        # At level "model" a reused call does not come to the blocks, so none can fail in it.
        is_run = not (reused and scene.level == "model")
        reached = pytest.raises(type(ERRORS[kind]())) if is_run else nullcontext()
        calls = 0

        def fail(module: torch.nn.Module, args: Any) -> None:
            nonlocal calls
            if calls == call:
                raise ERRORS[kind]()
            calls += 1

        handle = block.register_forward_pre_hook(fail)
        with reached:
            ksampler(scene.model)
        handle.remove()
    scene.check(last(scene.model))


def test_out_of_memory_as_the_executor_handles_it(scene: Scene, last: Callable[[Any], Any]) -> None:
    """After a lack of memory the executor unloads everything; the next run loads again."""
    import comfy.model_management

    handle = scene.blocks[-1].register_forward_pre_hook(_raise_out_of_memory)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        ksampler(scene.model)
    handle.remove()
    assert isinstance(caught.value, comfy.model_management.OOM_EXCEPTION)
    comfy.model_management.unload_all_models()
    scene.check(last(scene.model))


def _raise_out_of_memory(module: torch.nn.Module, args: Any) -> None:
    raise torch.OutOfMemoryError("stop here")

"""What still runs in a block whose features are all reused: what makes its gates, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import real
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

MODELS: dict[str, Callable[[], Any]] = {
    "flux": real.random_flux,
    "flux2": real.random_flux2,
    "chroma": real.random_chroma,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}
LISTS = ("double_blocks", "single_blocks", "joint_blocks", "blocks")
GATES = {"flux": {"img_mod", "txt_mod", "modulation"}, "sd3": {"adaLN_modulation"}}
"""The sub-modules that make gates; Flux.2, Chroma and PixArt get theirs from outside of the block."""
HEAVY = ("mm", "linear", "attention", "norm", "gelu", "silu", "softmax")
"""Parts of the names of operations that neither gate nor add."""

pytestmark = [
    pytest.mark.parametrize("level", ["module", "block", "stack"]),
    pytest.mark.parametrize("family", MODELS),
]


class Passes(TorchDispatchMode):
    """Notes, for each pass of a network, the sub-modules and the heavy operations that run inside its blocks."""

    def __init__(self, network: nn.Module) -> None:
        """Watch `network`."""
        super().__init__()
        self.modules: list[list[set[str]]] = []
        self.operations: list[list[str]] = []
        self._is_inside = False
        network.register_forward_pre_hook(self._begin)
        for name, module in network.named_modules():
            path = name.split(".")
            if path[0] in LISTS and len(path) == 2:
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave)
            elif path[0] in LISTS and len(path) > 2:
                module.register_forward_hook(lambda *args, p=path[2:]: self.modules[-1].append(set(p)))

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note heavy operations, and let every operation through."""
        if self._is_inside and any(part in str(function) for part in HEAVY):
            self.operations[-1].append(str(function))
        return function(*args, **kwargs or {})

    def _begin(self, *args: Any) -> None:
        self.modules.append([])
        self.operations.append([])

    def _enter(self, *args: Any) -> None:
        self._is_inside = True

    def _leave(self, *args: Any) -> None:
        self._is_inside = False


def _two_passes(family: str, level: str, cached: Callable[..., Any]) -> Passes:
    """Return what ran in a pass that computes everything, and in one that reuses everything."""
    model = MODELS[family]()
    with Passes(real.network_of(model)) as passes:
        real.sample(cached(model, level=level, interval=2, anchor="start"), steps=2, cfg=4.0)
    return passes


def test_a_reused_block_runs_no_module_but_its_gates(
    host: real.Host, cached: Callable[..., Any], family: str, level: str
) -> None:
    computed, reused = _two_passes(family, level, cached).modules
    gates = GATES.get(family, set()) if level == "module" else set()
    assert computed
    assert [path for path in reused if not gates & path] == []
    assert bool(reused) == bool(gates), "gates follow the timestep, so those that a block makes are made anew"


def test_a_reused_block_does_nothing_heavy_but_its_gates(
    host: real.Host, cached: Callable[..., Any], family: str, level: str
) -> None:
    """Functions that are no modules do not run either: attention first of all."""
    computed, reused = _two_passes(family, level, cached).operations
    # A gate is an activation of the timestep and a product.
    allowed = {"silu", "mm", "linear"} if level == "module" and family in GATES else set()
    assert computed
    assert [name for name in reused if not any(part in name for part in allowed)] == []

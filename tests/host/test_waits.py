"""How often the host waits for the device: never for a static schedule, once per call for a dynamic one.

On a device such a wait is a number that is read back from it; here, on the CPU, the reads are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import real
import torch
from torch.utils._python_dispatch import TorchDispatchMode

STEPS = 8


class Reads(TorchDispatchMode):
    """Counts numbers that are read back from tensors, as inference mode shows them."""

    def __init__(self) -> None:
        """Start at none."""
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count reads, and let every operation through."""
        self.count += function in (torch.ops.aten.item.default, torch.ops.aten.is_nonzero.default)
        return function(*args, **kwargs or {})


def _reads(model: Any, steps: int, sampler: str) -> int:
    with Reads() as reads:
        real.sample(model, steps=steps, cfg=4.0, sampler=sampler)
    return reads.count


def _per_call(model: Any, sampler: str) -> float:
    """Return the reads of one more call: those of the whole run fall out."""
    real.sample(model, steps=2, cfg=4.0)
    return (_reads(model, 2 * STEPS, sampler) - _reads(model, STEPS, sampler)) / STEPS


@pytest.mark.parametrize("level", ["module", "block", "stack", "model"])
@pytest.mark.parametrize(
    "sampler", ["euler", "dpmpp_2m", "res_multistep", "heun", "dpm_2", "exp_heun_2_x0", "sa_solver_pece"]
)
def test_a_static_schedule_waits_for_nothing(
    flux: Any, cached: Callable[..., Any], level: str, sampler: str
) -> None:
    plain = _per_call(flux, sampler)
    assert _per_call(cached(flux, level=level, interval=2), sampler) == plain


def test_a_dynamic_schedule_waits_once_per_call(host: real.Host, flux: Any) -> None:
    settings = {"indicator": "teacache", "threshold": 0.3, "coefficients": "identity"}
    model = host.nodes["TeaCacheThreshold"].execute(flux, settings, 0.0, 1.0)[0]
    assert _per_call(model, "euler") == _per_call(flux, "euler") + 1

"""The loaded model itself: precision, weights streamed to the device, weights in another type than the computation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import real
import torch

from .base import MODELS, Cell, ksampler, over_levels


def _computing_in(family: str, dtype: torch.dtype) -> Any:
    """Return the tiny MODEL computing in `dtype`: casting layers, as the host uses them for such a computation."""
    model = MODELS[family]()
    if dtype is not torch.float32:
        _cast_weights(model)
        model.model.diffusion_model.to(torch.float16 if dtype is torch.bfloat16 else torch.bfloat16)
        model.set_model_compute_dtype(dtype)
    return model


def _cast_weights(model: Any) -> Any:
    """Make every layer fetch its weights when it runs, as the host does where they do not fit the device."""
    for module in real.network_of(model).modules():
        if hasattr(module, "comfy_cast_weights"):
            module.comfy_cast_weights = True
    return model


def _streaming(make: Callable[[], Any]) -> Any:
    return _cast_weights(make())


def _precisions() -> list[Cell]:
    return [
        cell
        for family in MODELS
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
        for cell in over_levels(
            group="precision",
            name=str(dtype).removeprefix("torch."),
            families=(family,),
            make=partial(_computing_in, family, dtype),
            sample=ksampler,
        )
    ]


def _streams() -> list[Cell]:
    return [
        cell
        for family, make in MODELS.items()
        for cell in over_levels(
            group="weight streaming",
            name="weights cast in every layer",
            families=(family,),
            make=partial(_streaming, make),
            sample=ksampler,
        )
    ]


CELLS = [*_precisions(), *_streams()]

"""Who a branch is: what ComfyUI's options say about one pass, as the lanes that features belong to."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch

from ..cache_core import Lane

PATCHES = ("patches", "patches_replace", "optimized_attention_override")
"""The options through which other nodes change what the network computes."""


def lanes_of(base_model: Any, x: torch.Tensor, context: Any, control: Any, options: Any) -> list[Lane]:
    """Return the lane of every branch in the batch.

    An area and its complement share a uuid, so the index among the host's conditioning lists goes with it.

    Args:
        base_model: What the pass goes through; a guider may sample two of them, with one set of options.
        x: (branches * B, C, H, W) input of the pass.
        context: The text, or None; its shape counts.
        control: What a ControlNet adds, or None.
        options: The pass's transformer_options.
    """
    branches = list(zip(options["uuids"], options["cond_or_uncond"], strict=True))
    variant = (
        id(base_model),
        _frozen({name: options.get(name) for name in PATCHES}),
        _frozen(getattr(options.get("context_window"), "index_list", None)),
        control is not None,
        tuple(getattr(context, "shape", ()))[1:],
    )
    shape = (x.shape[0] // len(branches), *x.shape[1:])
    shared: dict[str, Any] = {"variant": variant, "shape": shape, "dtype": x.dtype, "device": x.device}
    weights = _hooked(base_model)
    return [Lane(branch=b, role=b[1], weights=weights, **shared) for b in branches]


def _hooked(base_model: Any) -> Hashable:
    """Return the hooks on the weights, such as a LoRA's on a prompt, with the strength their keyframes give them now."""
    hooks = getattr(getattr(base_model, "current_patcher", None), "current_hooks", None)
    return () if hooks is None else tuple((hook, hook.strength) for hook in hooks.hooks)


def _frozen(value: Any) -> Hashable:
    """Return a hashable stand-in for nested options; functions stand for themselves, so a new one is a new lane."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value if isinstance(value, Hashable) else id(value)

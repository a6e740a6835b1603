"""The caches that come with ComfyUI, as their nodes put them on a MODEL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

START, END = 0.15, 0.95
"""The nodes' own defaults: the part of the sampling in which they may skip."""
_KEY = "feature_cache_benchmark"


def easycache(model: Any, threshold: float) -> Any:
    """Return the MODEL with EasyCache as it is shipped."""
    from comfy_extras.nodes_easycache import EasyCacheNode

    return EasyCacheNode.execute(model, threshold, START, END, False).args[0]


def easycache_mended(model: Any, threshold: float) -> Any:
    """Return the MODEL with EasyCache, which gets a copy of the network's input.

    It adds the cached change to that input in place. In float32 the input is the sampler's own state, which is then wrong;
    in a shorter type it is a copy already. A wrapper in front of its own makes the copy, so that nothing of the host is
    touched.
    """
    from comfy.patcher_extension import WrappersMP

    copied = model.clone()
    copied.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, _KEY, _on_a_copy)
    return easycache(copied, threshold)


def lazycache(model: Any, threshold: float) -> Any:
    """Return the MODEL with LazyCache."""
    from comfy_extras.nodes_easycache import LazyCacheNode

    return LazyCacheNode.execute(model, threshold, START, END, False).args[0]


def _on_a_copy(executor: Callable[..., Any], state: Tensor, *args: Any, **kwargs: Any) -> Any:
    return executor(state.clone(), *args, **kwargs)

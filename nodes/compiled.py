"""torch.compile on a MODEL: looked through, because the sub-modules behind it are the ones that run."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ..cache_core.scope import uncompiled as uncompiled

COMPILE_KEY = "torch.compile"
"""The host's key for the wrapper that puts a compiled network in place, inside or outside of ours."""

UNCOMPILED = "Feature Cache: the cached blocks run uncompiled, torch.compile only serves what is around them."


def is_compiled(network: Any, wrappers: Container[str]) -> bool:
    """Return whether a pass through `network` is compiled: outside of our wrapper, or by one of the pass's others."""
    return network is not uncompiled(network) or COMPILE_KEY in wrappers

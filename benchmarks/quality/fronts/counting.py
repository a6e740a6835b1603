"""Counts what of a network runs, for caches that do not report it themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Count:
    """Pictures that passed through blocks, summed over the blocks."""

    def __init__(self, num_blocks: int) -> None:
        """Begin at none."""
        self.num_blocks, self._passed = num_blocks, 0

    def add(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Count one call of a block, as a forward pre-hook."""
        self._passed += next(len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor))

    def share(self, num_passes: int) -> float:
        """Return what ran, over what the uncached run would have.

        Args:
            num_passes: Forward passes of all pictures and branches in the uncached run.
        """
        return self._passed / (self.num_blocks * num_passes)


@contextmanager
def counted(model: Any) -> Iterator[Count]:
    """Count the blocks of a MODEL's network while the context lasts: all members of its lists of modules."""
    blocks = blocks_of(model.model.diffusion_model)
    count = Count(len(blocks))
    hooks = [block.register_forward_pre_hook(count.add, with_kwargs=True) for block in blocks]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of a Diffusion Transformer: the members of the lists of modules that it, or what it wraps, holds."""
    within = (
        [child for child in one.children() if isinstance(child, nn.ModuleList)] for one in network.modules()
    )
    lists = next(filter(None, within))
    return [block for blocks in lists for block in blocks]

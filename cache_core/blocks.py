"""The shape that all families share: lists of blocks, run one after the other over token streams.

A family says what its blocks are called, which streams pass through them and how a block with reused modules is
replayed; levels STACK and BLOCK, and the indicators, follow from that.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import nn

from .adapter import Adapter, Observer, Router, after, before
from .scope import ForwardPatch, uncompiled
from .streams import Stack, Streams, first_residual, residual_patch
from .types import Indicator, Level, Site

STACK_SITE = Site(level=Level.STACK, path="blocks", index=0, part="residual")
"""The change of the picture's tokens over all blocks."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a network: the list it is in, its place there, and the live module.

    The module is typed loosely because its sub-modules are the host's.
    """

    path: str
    index: int
    module: Any

    def __str__(self) -> str:
        """Return the name used in errors, such as `double_blocks.3`."""
        return f"{self.path}.{self.index}"

    def site(self, level: Level, part: str) -> Site:
        """Return a site of this block."""
        return Site(level=level, path=self.path, index=self.index, part=part)


class BlockAdapter(Adapter):
    """A family whose network is lists of blocks."""

    lists: ClassVar[tuple[str, ...]]
    """Names of the network's block lists, in the order they run."""
    timestep_embedder: ClassVar[str | None]
    """Name of the sub-module whose output is the embedded timestep, or None."""

    @classmethod
    @abstractmethod
    def faults(cls, block: Block) -> list[str]:
        """Return what a block lacks, each as half a sentence."""

    @abstractmethod
    def streams(self, block: Block) -> Streams:
        """Return the token streams that pass through a block."""

    @abstractmethod
    def parts(self, block: Block) -> tuple[str, ...]:
        """Return the parts of a block at level MODULE, in the order they run."""

    @abstractmethod
    def module_patches(
        self, block: Block, sites: Mapping[str, Site], router: Router
    ) -> Iterator[ForwardPatch]:
        """Return the forward replacements of one block at level MODULE; `sites` are by part."""

    @abstractmethod
    def modulated_input(self, block: Block) -> Any:
        """Return a function that takes the block's arguments and makes the image tokens its attention sees."""

    @classmethod
    def check(cls, network: nn.Module) -> list[str]:
        """Return what the network lacks."""
        absent = [n for n in cls.lists if not isinstance(getattr(network, n, None), nn.ModuleList)]
        if absent:
            return [f"it has no list '{name}'" for name in absent]
        if not len(network.get_submodule(cls.lists[0])):  # type: ignore[arg-type]
            return [f"its list '{cls.lists[0]}' is empty"]
        faults = [fault for block in _blocks(network, cls.lists) for fault in cls.faults(block)]
        embedder = cls.timestep_embedder
        if embedder is not None and not isinstance(getattr(network, embedder, None), nn.Module):
            faults.append(f"it has no sub-module '{embedder}'")
        return faults

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in the order they run."""
        return _blocks(self.network, self.lists)

    def block_sites(self, level: Level) -> tuple[Site, ...]:
        """Return the sites of a level in the order they run."""
        if level is Level.STACK:
            return (STACK_SITE,)
        return tuple(site for block in self.blocks for site in self._sites(level, block).values())

    def block_patches(self, level: Level, router: Router) -> Iterator[ForwardPatch]:
        """Return the forward replacements that route one pass at `level` through `router`."""
        if level is Level.STACK:
            yield from self._stack_patches(router)
            return
        for block in self.blocks:
            sites = self._sites(level, block)
            if level is Level.BLOCK:
                yield residual_patch(block.module, sites["residual"], router, self.streams(block))
            else:
                yield from self.module_patches(block, sites, router)

    def observers(self) -> Mapping[Indicator, Observer]:
        """Return how to watch for each indicator that the network shows."""
        first, *rest = self.blocks
        shown = {
            **super().observers(),
            Indicator.MODULATED_INPUT: lambda router: before(
                first.module, router, self.modulated_input(first)
            ),
        }
        if self.timestep_embedder is not None:
            embedder = self.network.get_submodule(self.timestep_embedder)
            shown[Indicator.TIMESTEP_EMBEDDING] = lambda router: after(embedder, router)
        if rest:
            shown[Indicator.FIRST_RESIDUAL] = lambda router: first_residual(
                first.module, router, self.streams(first)
            )
        return shown

    def _sites(self, level: Level, block: Block) -> dict[str, Site]:
        parts = self.parts(block) if level is Level.MODULE else ("residual",)
        return {part: block.site(level, part) for part in parts}

    def _stack_patches(self, router: Router) -> Iterator[ForwardPatch]:
        """The first block is no part of the stack where the decision waits for what it does."""
        blocks = self.blocks[1:] if router.indicator is Indicator.FIRST_RESIDUAL else self.blocks
        stack = Stack(STACK_SITE, router)
        for block in blocks:
            yield stack.patch(
                block.module, self.streams(block), first=block is blocks[0], last=block is blocks[-1]
            )


def _blocks(network: nn.Module, lists: tuple[str, ...]) -> tuple[Block, ...]:
    return tuple(
        Block(path, index, uncompiled(module))
        for path in lists
        for index, module in enumerate(network.get_submodule(path).children())
    )

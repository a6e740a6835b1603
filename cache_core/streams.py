"""Residuals: what one block, or all of them together, add to the token streams that pass through.

Blocks may write into their inputs, so streams are copied before a block runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .adapter import Router
from .scope import Forward, ForwardPatch
from .types import Feature, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The token streams of a block: the first parameters of its forward, which it returns in the same order.

    Attributes:
        names: Names of the parameters.
        image: The stream whose last tokens are the picture's.
        dropped: Streams for which the block returns None.
    """

    names: tuple[str, ...]
    image: str
    dropped: frozenset[str] = frozenset()

    def entered(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the streams that the block hands on, as they come in."""
        found = {name: args[i] if i < len(args) else kwargs[name] for i, name in enumerate(self.names)}
        return {name: stream for name, stream in found.items() if name not in self.dropped}

    def left(self, output: Any) -> dict[str, Tensor]:
        """Return the streams of a block's output."""
        outputs = output if isinstance(output, tuple) else (output,)
        return {name: out for name, out in zip(self.names, outputs, strict=True) if name not in self.dropped}

    def packed(self, streams: Mapping[str, Tensor]) -> Any:
        """Return the streams as the block's forward would."""
        output = tuple(streams.get(name) for name in self.names)
        return output if len(output) > 1 else output[0]


def residual_patch(block: nn.Module, site: Site, router: Router, streams: Streams) -> ForwardPatch:
    """Return the patch for level BLOCK: the block runs and its change is recorded, or the change is added."""

    def wrap(original: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            entered = streams.entered(args, kwargs)
            if router.is_reused(site):
                return streams.packed(_added(entered, router.recall(site)))
            entered = {name: stream.clone() for name, stream in entered.items()}
            output = router.timed((site,), lambda: original(*args, **kwargs))
            residual = tuple(left - entered[name] for name, left in streams.left(output).items())
            settled = router.settle(site, residual)
            return output if settled is residual else streams.packed(_added(entered, settled))

        return forward

    return ForwardPatch(block, wrap)


def first_residual(block: nn.Module, router: Router, streams: Streams) -> ForwardPatch:
    """Return the patch that shows the router what a block adds to the image tokens."""

    def wrap(original: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if not router.awaits():
                return original(*args, **kwargs)
            entered = streams.entered(args, kwargs)[streams.image].clone()
            output = original(*args, **kwargs)
            router.observe(streams.left(output)[streams.image] - entered)
            return output

        return forward

    return ForwardPatch(block, wrap)


def _added(entered: Mapping[str, Tensor], residual: Feature) -> dict[str, Tensor]:
    return {name: stream + change for (name, stream), change in zip(entered.items(), residual, strict=True)}


class Stack:
    """One pass through all blocks at level STACK: image tokens are kept where they enter, settled where they leave.

    The host adds control residuals between the blocks, also where these are skipped; starting again from the
    tokens that entered keeps them from being counted twice.
    """

    def __init__(self, site: Site, router: Router) -> None:
        """Start a pass in which nothing has entered."""
        self._site, self._router = site, router
        self._entered: Tensor | None = None

    def patch(self, block: nn.Module, streams: Streams, *, first: bool, last: bool) -> ForwardPatch:
        """Return the patch for one block of the stack."""

        def wrap(original: Forward) -> Forward:
            def forward(*args: Any, **kwargs: Any) -> Any:
                entered = streams.entered(args, kwargs)
                if first:
                    self._entered = entered[streams.image].clone()
                output = self._run(streams, entered, lambda: original(*args, **kwargs))
                return self._leave(streams, output) if last else output

            return forward

        return ForwardPatch(block, wrap)

    def _run(self, streams: Streams, entered: Mapping[str, Tensor], compute: Any) -> Any:
        if self._router.is_reused(self._site):
            self._router.promise(self._site)
            return streams.packed(entered)
        return self._router.timed((self._site,), compute)

    def _leave(self, streams: Streams, output: Any) -> Any:
        """Settle the image tokens; left alone where another node took the first block's place."""
        if self._entered is None:
            return output
        left = streams.left(output)
        whole, tokens = left[streams.image], self._entered.shape[1]
        picture = whole[:, -tokens:]
        settled = self._settled(picture, self._entered)
        if settled is picture:
            return output
        return streams.packed(left | {streams.image: torch.cat((whole[:, :-tokens], settled), dim=1)})

    def _settled(self, picture: Tensor, entered: Tensor) -> Tensor:
        if self._router.is_reused(self._site):
            return entered + self._router.recall(self._site)[0]
        residual = (picture - entered,)
        settled = self._router.settle(self._site, residual)
        return picture if settled is residual else entered + settled[0]

"""Gradients through networks that were written for inference: blocks that write in place, and activations too many to keep.

Two obstacles, two means of PyTorch's own. Blocks add to their streams in place (`img += ...`), which destroys what the
backward pass needs: `writable` keeps a copy of whatever is about to be overwritten. And the activations of all blocks do not
fit: a block is a checkpoint, which keeps its inputs and is run again on the way back.

A checkpoint runs its block without a graph at first. So parameters that are used inside of blocks must be leaves of their own:
their gradients gather there, and are handed on to what they came from afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import allow_mutation_on_saved_tensors
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten
from torch.utils.checkpoint import checkpoint
from torch.utils.dlpack import from_dlpack

from ..adapter import Adapter
from ..blocks import BlockAdapter
from ..scope import Forward, ForwardPatch, scoped_forwards


def writable() -> AbstractContextManager[Any]:
    """Return the context in which networks that write in place run both forward and backward."""
    return allow_mutation_on_saved_tensors()


def leaves_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return leaves of the same values, in which gradients gather."""
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def by_block(adapter: Adapter, patches: Iterable[ForwardPatch], *, recompute: bool) -> Iterator[ForwardPatch]:
    """Return `patches` gathered into one per block, under which the block carries gradients.

    A block's patches are installed anew whenever it runs: the backward pass runs it again when the pass that
    they were made for is long over.

    Args:
        adapter: The network's adapter.
        patches: Replacements that route a pass.
        recompute: Whether backward runs a block again instead of keeping its activations.
    """
    blocks = adapter.blocks if isinstance(adapter, BlockAdapter) else ()
    owner = {module: block.module for block in blocks for module in block.module.modules()}
    gathered: dict[nn.Module, list[ForwardPatch]] = {block.module: [] for block in blocks}
    for patch in patches:
        if patch.module in owner:
            gathered[owner[patch.module]].append(patch)
        else:
            yield patch
    for module, inner in gathered.items():
        yield _trainable(module, inner, recompute=recompute)


def _trainable(block: nn.Module, inner: list[ForwardPatch], *, recompute: bool) -> ForwardPatch:
    own = [patch for patch in inner if patch.module is block]
    leaves = [patch for patch in inner if patch.module is not block]

    def wrap(original: Forward) -> Forward:
        routed = original
        for patch in own:
            routed = patch.wrap(routed)

        def run(*args: Any, **kwargs: Any) -> Any:
            with scoped_forwards(leaves):
                return routed(*args, **kwargs)

        def forward(*args: Any, **kwargs: Any) -> Any:
            grows = torch.is_grad_enabled()
            return _checkpointed(run, args, kwargs) if recompute and grows else run(*args, **kwargs)

        return forward

    return ForwardPatch(block, wrap)


def _checkpointed(run: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a block as a checkpoint, on copies of its inputs: it may write into them, and they are what is kept."""
    flat, shape = tree_flatten((args, kwargs))

    def again(anchor: Tensor, *inputs: Any) -> Any:
        copies = [value.clone() if isinstance(value, Tensor) else value for value in inputs]
        given, named = tree_unflatten(copies, shape)
        made = run(*given, **named)
        # A block before all that is trained has no gradient to give, and backward, which comes here, asks for one.
        return tree_map_only(Tensor, lambda part: part + anchor, made) if torch.is_grad_enabled() else made

    # The anchor makes the first blocks carry gradients, whose inputs have none; there is no dropout, so no random state.
    anchor = torch.zeros((), requires_grad=True)
    return checkpoint(again, anchor, *flat, use_reentrant=True, preserve_rng_state=False)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep gradients off the weights of `network` inside the `with` block, and let them pass through.

    Weights that were loaded in inference mode cannot be part of a backward pass: for the time being another tensor
    on the same memory stands in for each.
    """
    undo: list[tuple[dict[str, Any], str, Any, bool]] = []
    try:
        for module in network.modules():
            tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for held in tables:
                for name, tensor in held.items():
                    if tensor is not None:
                        undo.append((held, name, tensor, tensor.requires_grad))
                        held[name] = _without_gradient(tensor)
        yield
    finally:
        for held, name, tensor, required in undo:
            held[name] = tensor
            if tensor.requires_grad != required:
                tensor.requires_grad_(required)


def _without_gradient(tensor: Tensor) -> Tensor:
    if not tensor.is_inference():
        return tensor.requires_grad_(False) if tensor.requires_grad else tensor
    normal = ordinary(tensor)
    return nn.Parameter(normal, requires_grad=False) if isinstance(tensor, nn.Parameter) else normal


def ordinary(tensor: Tensor) -> Tensor:
    """Return a tensor for use in a backward pass: on the same memory where PyTorch can share it, else a copy."""
    if not tensor.is_inference():
        return tensor
    if type(tensor) not in (Tensor, nn.Parameter):
        # What another kind of tensor holds is not, or not all, in the memory that it would share.
        return tensor.detach().clone()
    try:
        shared: Tensor = from_dlpack(tensor.detach())
        return shared
    except (RuntimeError, TypeError, BufferError, ValueError):
        return tensor.detach().clone()

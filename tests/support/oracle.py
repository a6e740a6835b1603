"""An independent oracle: the plain model under PyTorch's own forward hooks that hand back recorded outputs.

It shares nothing with the adapters: every module runs, also where its output is then replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def fora_full_calls(num_calls: int, interval: int, anchor: str) -> set[int]:
    """Return the calls that FORA computes, from the published rules."""
    if anchor == "start":
        return set(range(0, num_calls, interval))
    descending = range(num_calls - 1, -1, -1)
    return {i for i, s in enumerate(descending) if s == num_calls - 1 or s % interval == 0}


@contextmanager
def replayed(
    family: str, network: nn.Module, level: str, full_calls: set[int], parts: set[str] | None = None
) -> Iterator[None]:
    """Make `network` hand back recorded features at `level` in every call that is not in `full_calls`.

    At level "module", `parts` limits that to some kinds of site; None means all of them.
    """
    counter = _Counter(full_calls)
    handles = [network.register_forward_pre_hook(counter.next_call)]
    if level == "model":
        handles += [_output(network, counter)]
    else:
        handles += ORACLES[family](network, level, counter, parts)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def residuals(family: str, network: Any) -> Iterator[list[list[list[torch.Tensor]]]]:
    """Give what every block of every pass adds to its streams: by pass, block and stream, a tensor (B, N, D)."""
    calls: list[list[list[torch.Tensor]]] = []
    handles = [network.register_forward_pre_hook(lambda module, args: calls.append([]))]
    for block in blocks(family, network):
        entered: list[torch.Tensor] = []

        def before(module: nn.Module, args: Any, kwargs: Any, entered: list[torch.Tensor] = entered) -> None:
            entered[:] = [stream.clone() for stream in _streams(args, kwargs)]

        def after(module: nn.Module, args: Any, output: Any, entered: list[torch.Tensor] = entered) -> None:
            left = output if isinstance(output, tuple) else (output,)
            calls[-1].append([o - e for o, e in zip(left, entered, strict=True) if o is not None])

        handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(block.register_forward_hook(after))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def block_schedule(family: str, network: Any, compute: torch.Tensor) -> Iterator[None]:
    """Make every block hand back what it last added, in every pass for which its entry of `compute` (T, S) is false."""
    counters = [_Counter({step for step, full in enumerate(column) if full}) for column in compute.T.tolist()]
    handles = [network.register_forward_pre_hook(counter.next_call) for counter in counters]
    for block, counter in zip(blocks(family, network), counters, strict=True):
        handles += _residual(block, counter)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def without_residuals(network: Any, full_calls: set[int]) -> Iterator[None]:
    """Make every block of a Flux hand back what it got, in every call that is not in `full_calls`."""
    counter = _Counter(full_calls)
    handles = [network.register_forward_pre_hook(counter.next_call)]
    for block in blocks("flux", network):
        entered: list[torch.Tensor] = []

        def before(module: nn.Module, args: Any, kwargs: Any, entered: list[torch.Tensor] = entered) -> None:
            entered[:] = [stream.clone() for stream in _streams(args, kwargs)]

        def after(module: nn.Module, args: Any, output: Any, entered: list[torch.Tensor] = entered) -> Any:
            if counter.full:
                return output
            return tuple(entered) if isinstance(output, tuple) else entered[0]

        handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(block.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def blocks(family: str, network: Any) -> list[nn.Module]:
    """Return the blocks of a network in the order they run."""
    lists = {"flux": ("double_blocks", "single_blocks"), "sd3": ("joint_blocks",), "pixart": ("blocks",)}
    return [block for name in lists[family] for block in getattr(network, name)]


class _Counter:
    """Counts network passes; one pass is one call, because the branches come in one batch."""

    def __init__(self, full_calls: set[int]) -> None:
        self.full_calls = full_calls
        self.call = -1

    def next_call(self, module: nn.Module, args: Any) -> None:
        self.call += 1

    @property
    def full(self) -> bool:
        return self.call in self.full_calls


def _flux(network: Any, level: str, counter: _Counter, parts: set[str] | None) -> list[Any]:
    doubles, singles = list(network.double_blocks), list(network.single_blocks)
    if level == "module":
        named = [("img_attn", b.img_attn.proj) for b in doubles] + [
            ("txt_attn", b.txt_attn.proj) for b in doubles
        ]
        named += [("img_mlp", b.img_mlp) for b in doubles] + [("txt_mlp", b.txt_mlp) for b in doubles]
        named += [("attn_mlp", b.linear2) for b in singles]
        return [_output(module, counter) for part, module in named if parts is None or part in parts]
    if level == "block":
        return [handle for block in [*doubles, *singles] for handle in _residual(block, counter)]
    return _stack(doubles[0], singles[-1], counter)


def _output(module: nn.Module, counter: _Counter) -> Any:
    kept: dict[str, torch.Tensor] = {}

    def hook(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        if counter.full:
            kept["output"] = output.clone()
        return kept["output"].clone()

    return module.register_forward_hook(hook)


def _residual(block: nn.Module, counter: _Counter) -> list[Any]:
    kept: dict[str, Any] = {}

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        kept["entered"] = [stream.clone() for stream in _streams(args, kwargs)]

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        left = output if isinstance(output, tuple) else (output,)
        if counter.full:
            kept["residual"] = [
                None if o is None else o - e for o, e in zip(left, kept["entered"], strict=True)
            ]
            return output
        pairs = zip(kept["entered"], kept["residual"], strict=True)
        given = tuple(None if r is None else e + r for e, r in pairs)
        return given if isinstance(output, tuple) else given[0]

    return [
        block.register_forward_pre_hook(before, with_kwargs=True),
        block.register_forward_hook(after, with_kwargs=True),
    ]


def _stack(first: nn.Module, last: nn.Module, counter: _Counter) -> list[Any]:
    """The image tokens are the last ones of the last stream but in Flux's double blocks, where they come first."""
    kept: dict[str, torch.Tensor] = {}

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        kept["entered"] = (kwargs["img"] if "img" in kwargs else _streams(args, kwargs)[-1]).clone()

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        whole = output[-1] if isinstance(output, tuple) else output
        tokens = kept["entered"].shape[1]
        text, image = whole[:, :-tokens], whole[:, -tokens:]
        if counter.full:
            kept["residual"] = image - kept["entered"]
            return output
        given = torch.cat((text, kept["entered"] + kept["residual"]), 1)
        return (*output[:-1], given) if isinstance(output, tuple) else given

    return [first.register_forward_pre_hook(before, with_kwargs=True), last.register_forward_hook(after)]


def _streams(args: Any, kwargs: Any) -> list[torch.Tensor]:
    """Return the token streams a block was called with: (img, txt), (x), (context, x)."""
    if "img" in kwargs:
        return [kwargs["img"], kwargs["txt"]]
    # SD3 passes its two streams by position and nothing else; the others pass one stream first.
    return list(args) if len(args) == 2 else [args[0]]


def _sd3(network: Any, level: str, counter: _Counter, parts: set[str] | None) -> list[Any]:
    blocks = list(network.joint_blocks)
    if level == "block":
        return [handle for block in blocks for handle in _residual(block, counter)]
    if level == "stack":
        return _stack(blocks[0], blocks[-1], counter)
    named = []
    for block in blocks:
        text, image = block.context_block, block.x_block
        named += [("img_attn", image.attn.proj), ("img_mlp", image.mlp)]
        named += [] if text.pre_only else [("txt_attn", text.attn.proj), ("txt_mlp", text.mlp)]
        named += [("img_attn2", image.attn2.proj)] if image.x_block_self_attn else []
    return [_output(module, counter) for part, module in named if parts is None or part in parts]


def _pixart(network: Any, level: str, counter: _Counter, parts: set[str] | None) -> list[Any]:
    blocks = list(network.blocks)
    if level == "block":
        return [handle for block in blocks for handle in _residual(block, counter)]
    if level == "stack":
        return _stack(blocks[0], blocks[-1], counter)
    names = ("attn", "cross_attn", "mlp")
    return [_output(getattr(b, n), counter) for b in blocks for n in names if parts is None or n in parts]


ORACLES = {"flux": _flux, "chroma": _flux, "sd3": _sd3, "pixart": _pixart}

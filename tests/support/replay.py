"""An independent oracle for any graph: the plain model under forward hooks that replay lane by lane.

`oracle.py` holds the standard case for every level; this one follows areas, ranges, windows, extra passes and several
runs, at the levels whose features are module outputs. It knows a lane by what the network is really given: the
bytes of the conditioning, not only the host's name for it. Every module runs, also where its output is replaced.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from oracle import fora_full_calls
from torch import nn

LEAVES: dict[str, Callable[[Any], list[nn.Module]]] = {
    "flux": lambda net: (
        [getattr(b, half).proj for b in net.double_blocks for half in ("img_attn", "txt_attn")]
        + [getattr(b, mlp) for b in net.double_blocks for mlp in ("img_mlp", "txt_mlp")]
        + [b.linear2 for b in net.single_blocks]
    ),
    "sd3": lambda net: [
        leaf
        for block in net.joint_blocks
        for half in (block.context_block, block.x_block)
        if not half.pre_only
        for leaf in (half.attn.proj, half.mlp, *([half.attn2.proj] if half.x_block_self_attn else []))
    ],
    "pixart": lambda net: [leaf for b in net.blocks for leaf in (b.attn, b.cross_attn, b.mlp)],
}

NOT_CONTENT = ("control", "transformer_options")
"""Arguments of a network that are not told apart by their bytes."""


class Replay:
    """Forward hooks on one network that make every call but the full ones hand back what was recorded.

    Attributes:
        lengths: Calls of each run that went through, in order.
        counts: Per call of the newest run, how many features were computed and reused.
    """

    def __init__(self, full_calls: Sequence[set[int]] = ()) -> None:
        """Take the calls of each run in which everything is computed; in a run that has none named, all are."""
        self._schedule = full_calls
        self.lengths: list[int] = []
        self.counts: list[list[int]] = []
        self._kept: dict[tuple[nn.Module, Any], torch.Tensor] = {}
        self._lanes: list[Any] = []
        self._seen: Counter[Any] = Counter()
        self._ambiguous: set[Any] = set()

    @classmethod
    def fora(cls, interval: int, anchor: str, lengths: list[int]) -> Replay:
        """Return FORA's schedule for runs of as many calls as an earlier, plain run had."""
        return cls([fora_full_calls(length, interval, anchor) for length in lengths])

    @contextmanager
    def over(self, model: Any, family: str, level: str) -> Iterator[Any]:
        """Yield a clone of the plain MODEL whose runs are replayed."""
        from comfy.patcher_extension import WrappersMP

        network = model.model.diffusion_model
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "replay", self._run)
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "replay", self._call)
        leaves = [network] if level == "model" else LEAVES[family](network)
        handles = [network.register_forward_pre_hook(self._pass, with_kwargs=True)]
        handles += [leaf.register_forward_hook(self._leaf) for leaf in leaves]
        try:
            yield clone
        finally:
            for handle in handles:
                handle.remove()

    def _run(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self._kept, self._ambiguous, self.counts = {}, set(), []
        result = executor(*args, **kwargs)
        self.lengths.append(len(self.counts))
        return result

    def _call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.counts.append([0, 0])
        self._seen = Counter()
        return executor(*args, **kwargs)

    def _pass(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._lanes = _lanes(args[0], kwargs, _weights(module))
        self._seen.update(self._lanes)
        self._ambiguous |= {lane for lane in self._lanes if self._seen[lane] > 1}

    def _leaf(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        rows = output.chunk(len(self._lanes))
        return torch.cat(
            [self._feature(module, lane, part) for lane, part in zip(self._lanes, rows, strict=True)]
        )

    def _feature(self, module: nn.Module, lane: Any, part: torch.Tensor) -> torch.Tensor:
        key = (module, lane)
        if lane in self._ambiguous:
            self._kept.pop(key, None)
        if not self._is_full and key in self._kept:
            self.counts[-1][1] += 1
            return self._kept[key]
        self.counts[-1][0] += 1
        if lane not in self._ambiguous:
            self._kept[key] = part.clone()
        return part

    @property
    def _is_full(self) -> bool:
        run, call = len(self.lengths), len(self.counts) - 1
        return run >= len(self._schedule) or call in self._schedule[run]


def _weights(network: nn.Module) -> float:
    """Return a number that changes with the weights: a LoRA's hook may lay another strength over them."""
    return sum(float(weight.double().sum()) for weight in network.parameters())


def _lanes(x: torch.Tensor, kwargs: dict[str, Any], weights: float) -> list[Any]:
    """Return what tells apart the conditioning chunks of one pass."""
    options = kwargs["transformer_options"]
    chunks = list(zip(options["uuids"], options["cond_or_uncond"], strict=True))
    window = options.get("context_window")
    shared = (
        weights,
        x.shape[1:],
        kwargs.get("control") is None,
        str(sorted((k, sorted(map(str, v))) for k, v in options.get("patches_replace", {}).items() if v)),
        None if window is None else str(window.index_list),
    )
    content = [
        [_digest(value, i, len(chunks)) for key, value in sorted(kwargs.items()) if key not in NOT_CONTENT]
        for i in range(len(chunks))
    ]
    return [(chunk, *shared, *digests) for chunk, digests in zip(chunks, content, strict=True)]


def _digest(value: Any, index: int, num_chunks: int) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_digest(item, index, num_chunks) for item in value)
    if isinstance(value, torch.Tensor):
        part = value.chunk(num_chunks)[index] if value.ndim and value.shape[0] % num_chunks == 0 else value
        return hashlib.sha1(part.float().contiguous().numpy().tobytes()).hexdigest()
    return str(value)

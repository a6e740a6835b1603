"""Carries tensors between the device that computes them and the place where they are held.

On CUDA, features that are held in host memory travel on a copy stream of their own while the device goes on
computing, through page-locked memory. Elsewhere a plain copy does the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

Arrival = Callable[[], Tensor]
"""Waits for a tensor that is on its way and returns it."""

NUM_STAGES = 2
"""Staging tensors of each shape: one can be filled while the other is still being copied out."""


class Carrier(ABC):
    """Fills shelves, the tensors in which features are held, and brings back what is in them."""

    @abstractmethod
    def shelf(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a new shelf, with anything in it."""

    @abstractmethod
    def put(self, tensor: Tensor, shelf: Tensor) -> Tensor:
        """Copy `tensor` onto `shelf`, in the shelf's type; return the copy as the computing device sees it.

        `tensor` may be written as soon as this returns. The copy is valid until the next `put`.
        """

    @abstractmethod
    def bring(self, shelf: Tensor) -> Arrival:
        """Start to bring what is on `shelf` to the computing device, where it is lent until the next `reclaim`."""

    def reclaim(self) -> None:
        """Take back what was lent: all computation that reads it is under way."""
        return

    @property
    def staged_bytes(self) -> int:
        """Bytes of the computing device that the carrier itself occupies."""
        return 0


class PlainCarrier(Carrier):
    """Copies at once; what is held on the computing device itself is lent as it lies there."""

    def __init__(self, computing: torch.device, holding: torch.device) -> None:
        """Carry between two devices, or within one."""
        self._computing, self._holding = computing, holding

    def shelf(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a new shelf on the holding device."""
        return torch.empty(shape, dtype=dtype, device=self._holding)

    def put(self, tensor: Tensor, shelf: Tensor) -> Tensor:
        """Copy `tensor` onto `shelf`, which is also the copy that can be looked at."""
        return shelf.copy_(tensor)

    def bring(self, shelf: Tensor) -> Arrival:
        """Return the shelf itself, or a copy on the computing device."""
        return lambda: shelf.to(self._computing)


Mark = TypeVar("Mark")
"""A moment in the work of the device: what was queued before it is done."""


class CopyStream(Protocol[Mark]):
    """A queue of copies beside the computation. Copies run in the order in which they were queued."""

    def new_shelf(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return host memory that copies of this queue can reach without waiting."""

    def share(self, tensor: Tensor) -> None:
        """Keep the device memory of `tensor`, also when it is let go, until the copies queued by then are done."""

    def mark(self) -> Mark:
        """Return the moment when all computation until now is done."""

    def wait(self, mark: Mark) -> None:
        """Let all later computation, not the host, wait for `mark`."""

    def copy(self, target: Tensor, source: Tensor, after: Mark) -> Mark:
        """Queue a copy, to run when `after` has come; return the moment when it is done."""


@dataclass(slots=True)
class _Stage(Generic[Mark]):
    """Memory of the device through which features pass, and the moment from which it may be used again."""

    tensor: Tensor
    free: Mark


class StreamCarrier(Carrier, Generic[Mark]):
    """Copies on a stream of its own, with bounded memory on the device and without ever making the host wait.

    A feature is first copied on the device into a stage, because the network may write into the feature as soon as
    it has it back. The stages of a shape are used in turn; the computation waits for one, on the device, only where
    the copies have fallen behind by a whole turn. On the way back the copies wait, on the device, until the
    computation has read what was lent from the stage before.
    """

    def __init__(self, stream: CopyStream[Mark], computing: torch.device) -> None:
        """Carry between `computing` and the host on `stream`."""
        self._stream, self._computing = stream, computing
        self._outward: dict[Hashable, Iterator[_Stage[Mark]]] = {}
        self._homeward: dict[Hashable, list[_Stage[Mark]]] = defaultdict(list)
        self._lent: list[_Stage[Mark]] = []
        self._staged_bytes = 0

    @property
    def staged_bytes(self) -> int:
        """Bytes of all stages."""
        return self._staged_bytes

    def shelf(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a new shelf in host memory; with the first of its kind come the stages that lead to it."""
        shelf = self._stream.new_shelf(shape, dtype)
        if _kind(shelf) not in self._outward:
            self._outward[_kind(shelf)] = cycle([self._new_stage(shelf) for _ in range(NUM_STAGES)])
        return shelf

    def put(self, tensor: Tensor, shelf: Tensor) -> Tensor:
        """Copy `tensor` into a stage, and that onto `shelf` while the computation goes on."""
        stage = next(self._outward[_kind(shelf)])
        self._stream.wait(stage.free)
        stage.tensor.copy_(tensor)
        stage.free = self._stream.copy(shelf, stage.tensor, self._stream.mark())
        return stage.tensor

    def bring(self, shelf: Tensor) -> Arrival:
        """Start a copy to the device. It runs after every `put` onto the same shelf, and before every later one."""
        spare = self._homeward[_kind(shelf)]
        stage = spare.pop() if spare else self._new_stage(shelf)
        arrived = self._stream.copy(stage.tensor, shelf, stage.free)

        def arrive() -> Tensor:
            self._stream.wait(arrived)
            self._lent.append(stage)
            return stage.tensor

        return arrive

    def reclaim(self) -> None:
        """Make the stages that were lent free again from the moment when the computation has read them."""
        if not self._lent:
            return
        read = self._stream.mark()
        for stage in self._lent:
            stage.free = read
            self._homeward[_kind(stage.tensor)].append(stage)
        self._lent.clear()

    def _new_stage(self, shelf: Tensor) -> _Stage[Mark]:
        tensor = torch.empty_like(shelf, device=self._computing)
        self._stream.share(tensor)
        self._staged_bytes += tensor.nbytes
        # The memory may have been another tensor's, which the computation under way still uses.
        return _Stage(tensor, self._stream.mark())


def _kind(shelf: Tensor) -> Hashable:
    return shelf.shape, shelf.dtype


class CudaCopyStream:
    """A CUDA stream of copies between page-locked host memory and one device.

    Memory that is let go while a copy is under way is kept by PyTorch's allocators until it is done: page-locked
    blocks by the copy itself, device memory by `record_stream`.
    """

    def __init__(self, device: torch.device) -> None:
        """Open a stream on `device`."""
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def new_shelf(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return page-locked host memory."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def share(self, tensor: Tensor) -> None:
        """Keep the device memory of `tensor` until copies are done with it."""
        tensor.record_stream(self._stream)

    def mark(self) -> torch.cuda.Event:
        """Return an event behind all computation until now."""
        event: torch.cuda.Event = torch.cuda.current_stream(self._device).record_event()
        return event

    def wait(self, mark: torch.cuda.Event) -> None:
        """Let the computation wait for `mark`."""
        torch.cuda.current_stream(self._device).wait_event(mark)

    def copy(self, target: Tensor, source: Tensor, after: torch.cuda.Event) -> torch.cuda.Event:
        """Queue a copy behind `after`; return an event behind it."""
        self._stream.wait_event(after)
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
        event: torch.cuda.Event = self._stream.record_event()
        return event


def make_carrier(computing: torch.device, holding: torch.device) -> Carrier:
    """Return the carrier between two devices: streamed from CUDA to host memory, plain elsewhere."""
    if computing.type == "cuda" and holding.type == "cpu":
        return StreamCarrier(CudaCopyStream(computing), computing)
    return PlainCarrier(computing, holding)

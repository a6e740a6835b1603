"""Where and how features are held while a run lasts: device, type, and how many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ConfigError
from .transfer import Arrival, Carrier

EIGHT_BIT = torch.float8_e4m3fn
"""Four bits of exponent, three of mantissa: within 1/16 of the value, once each row is scaled to its range."""

LARGEST = torch.finfo(EIGHT_BIT).max
SMALLEST_SCALE = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True, kw_only=True)
class Residence:
    """How a run holds its features. The default holds exact copies where they are made, however many.

    Attributes:
        device: Device that holds them; None for the one that makes each.
        dtype: Type they are held in where that is smaller than their own; None for their own.
        budget: Most bytes of features held at one time; None for no limit.
    """

    device: torch.device | None = None
    dtype: torch.dtype | None = None
    budget: int | None = None

    def device_for(self, computing: torch.device) -> torch.device:
        """Return the device that holds what `computing` makes."""
        return computing if self.device is None else self.device

    def dtype_for(self, dtype: torch.dtype) -> torch.dtype:
        """Return the type in which a tensor of `dtype` is held."""
        if self.dtype is None or not dtype.is_floating_point or self.dtype.itemsize >= dtype.itemsize:
            return dtype
        return self.dtype

    def num_bytes(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Return the bytes that hold one tensor of `shape` and `dtype`, a row's scale included."""
        count, held = torch.Size(shape).numel(), self.dtype_for(dtype)
        scales = 4 * count // max(shape[-1], 1) if _is_scaled(held, dtype) else 0
        return count * held.itemsize + scales

    def check(self, computing: torch.device) -> None:
        """Try the type on the device that has to convert to it.

        Raises:
            ConfigError: If the device cannot.
        """
        if self.dtype is None:
            return
        try:
            torch.ones(1, 1, device=computing).to(self.dtype).to(torch.float32)
        except (RuntimeError, TypeError) as fault:
            name = "float8" if self.dtype is EIGHT_BIT else str(self.dtype).removeprefix("torch.")
            raise ConfigError(
                f"'cache_dtype' is '{name}', which the device '{computing}' cannot convert to with this PyTorch. "
                "Choose 'same as model'."
            ) from fault


class Slot:
    """One held tensor: encoded on the way in, given back in its own type on its own device."""

    def __init__(self, example: Tensor, dtype: torch.dtype, carrier: Carrier) -> None:
        """Make room, through `carrier`, for tensors like `example`, held as `dtype`."""
        self._shape, self._dtype, self._carrier = example.shape, example.dtype, carrier
        self._shelves = [carrier.shelf(example.shape, dtype)]
        if _is_scaled(dtype, example.dtype):
            self._shelves.append(carrier.shelf((*example.shape[:-1], 1), torch.float32))
        self._arrivals: list[Arrival] | None = None

    @property
    def device(self) -> torch.device:
        """The device of the shelves."""
        return self._shelves[0].device

    @property
    def num_bytes(self) -> int:
        """Bytes of the shelves."""
        return sum(shelf.nbytes for shelf in self._shelves)

    def fits(self, tensor: Tensor) -> bool:
        """Return whether `tensor` can be written over what is held."""
        # Outside inference mode PyTorch refuses to write into tensors that were made inside.
        writable = torch.is_inference_mode_enabled() or not self._shelves[0].is_inference()
        return writable and tensor.shape == self._shape and tensor.dtype == self._dtype

    def write(self, tensor: Tensor) -> Tensor:
        """Hold a copy of `tensor`; return a tensor on its device that is finite exactly if what is held is."""
        self._arrive()
        parts = [tensor] if len(self._shelves) == 1 else _scaled(tensor)
        copies = [self._carrier.put(part, shelf) for part, shelf in zip(parts, self._shelves, strict=True)]
        return copies[-1]

    def fetch(self) -> None:
        """Start to bring back what is held; `read` does so by itself."""
        if self._arrivals is None:
            self._arrivals = [self._carrier.bring(shelf) for shelf in self._shelves]

    def read(self) -> Tensor:
        """Return what is held, in its own type on its own device: lent until the carrier's next `reclaim`."""
        self.fetch()
        parts = self._arrive()
        held = parts[0].to(self._dtype)
        return held if len(parts) == 1 else held.mul_(parts[1])

    def _arrive(self) -> list[Tensor]:
        """Return what is on its way, which lends it; nothing if nothing is."""
        arrivals, self._arrivals = self._arrivals or [], None
        return [arrive() for arrive in arrivals]


def _is_scaled(held: torch.dtype, own: torch.dtype) -> bool:
    return held is EIGHT_BIT and own is not EIGHT_BIT


def _scaled(tensor: Tensor) -> list[Tensor]:
    """Return the rows of `tensor` in eight bits, each divided by its scale, and the scales.

    The largest magnitude of a row becomes the largest number of the type, so nothing finite overflows. A row with a
    number that is not finite becomes not finite throughout, and so does its scale.
    """
    scale = (tensor.abs().amax(-1, keepdim=True).float() / LARGEST).clamp_min(SMALLEST_SCALE)
    return [(tensor / scale).to(EIGHT_BIT), scale]

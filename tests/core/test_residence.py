"""Holding features in a smaller type."""

from __future__ import annotations

import pytest
import torch

from cache_core import ConfigError, Residence
from cache_core.residence import Slot
from cache_core.transfer import PlainCarrier

CPU = torch.device("cpu")
FLOAT8 = torch.float8_e4m3fn


def _held(tensor: torch.Tensor, dtype: torch.dtype) -> tuple[Slot, torch.Tensor]:
    slot = Slot(tensor, dtype, PlainCarrier(CPU, CPU))
    return slot, slot.write(tensor)


@pytest.mark.parametrize(
    ("own", "asked", "held"),
    [
        (torch.float32, None, torch.float32),
        (torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.bfloat16, torch.float16),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, FLOAT8, FLOAT8),
        (torch.int64, FLOAT8, torch.int64),
    ],
)
def test_only_a_smaller_type_is_used(own: torch.dtype, asked: torch.dtype | None, held: torch.dtype) -> None:
    assert Residence(dtype=asked).dtype_for(own) is held


@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("held", "error"), [(torch.bfloat16, 2**-8), (FLOAT8, 2**-4)])
def test_what_comes_out_has_its_own_type_and_is_near(
    own: torch.dtype, held: torch.dtype, error: float
) -> None:
    tensor = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0)).to(own)
    slot, _ = _held(tensor, Residence(dtype=held).dtype_for(own))
    back = slot.read()
    assert back.dtype is own
    # Numbers below the smallest normal one of a scaled row are off by half a step of that: amax / 448 / 1024.
    floor = tensor.abs().amax(-1, keepdim=True).float() / 2**16
    assert bool(((back.float() - tensor.float()).abs() <= tensor.float().abs() * error * 1.01 + floor).all())


@pytest.mark.parametrize("held", [torch.bfloat16, FLOAT8])
def test_what_comes_out_of_a_smaller_type_is_never_the_stores(held: torch.dtype) -> None:
    slot, _ = _held(torch.ones(2, 4), held)
    slot.read().fill_(9)
    assert slot.read().tolist() == [[1] * 4] * 2


@pytest.mark.parametrize("held", [torch.bfloat16, FLOAT8])
@pytest.mark.parametrize("large", [70000.0, 1e30, -3e38])
def test_large_numbers_do_not_overflow(held: torch.dtype, large: float) -> None:
    slot, seen = _held(torch.tensor([[1.0, large], [1.0, 2.0]]), held)
    back = slot.read()
    assert back[0, 1].item() == pytest.approx(large, rel=2**-8)
    assert back[1].tolist() == [1, 2], "a row does not suffer from another's range"
    assert bool(seen.isfinite().all())


@pytest.mark.parametrize("held", [torch.float32, torch.bfloat16, FLOAT8])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_still_seen(held: torch.dtype, bad: float) -> None:
    slot, seen = _held(torch.tensor([[1.0, bad], [1.0, 2.0]]), held)
    assert not bool(seen.isfinite().all())
    assert not bool(slot.read()[0].isfinite().all())


def test_zero_rows_stay_zero() -> None:
    slot, seen = _held(torch.zeros(2, 3), FLOAT8)
    assert slot.read().tolist() == [[0.0] * 3] * 2
    assert bool(seen.isfinite().all())


@pytest.mark.parametrize(("dtype", "num_bytes"), [(None, 64), (torch.bfloat16, 32), (FLOAT8, 24)])
def test_bytes_are_known_before_and_after(dtype: torch.dtype | None, num_bytes: int) -> None:
    """Sixteen numbers in two rows, each of which has a scale of four bytes where the type is eight bits."""
    residence, tensor = Residence(dtype=dtype), torch.ones(2, 8)
    slot, _ = _held(tensor, residence.dtype_for(tensor.dtype))
    assert residence.num_bytes(tensor.shape, tensor.dtype) == slot.num_bytes == num_bytes


def test_exact_copies_are_lent_as_they_lie() -> None:
    slot, seen = _held(torch.ones(2), torch.float32)
    assert slot.read() is seen


def test_a_tensor_made_in_inference_mode_is_not_written_outside() -> None:
    with torch.inference_mode():
        slot, _ = _held(torch.ones(2), torch.float32)
        assert slot.fits(torch.ones(2))
    assert not slot.fits(torch.ones(2))


def test_another_shape_or_type_does_not_fit() -> None:
    slot, _ = _held(torch.ones(2), torch.float32)
    assert not slot.fits(torch.ones(3))
    assert not slot.fits(torch.ones(2, dtype=torch.float64))


def test_a_device_that_cannot_convert_is_refused() -> None:
    Residence(dtype=FLOAT8).check(CPU)
    with pytest.raises(ConfigError, match=r"'cache_dtype' is 'float8', which the device 'nowhere' cannot"):
        Residence(dtype=FLOAT8).check("nowhere")  # type: ignore[arg-type] - stands for a device that raises

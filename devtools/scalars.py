"""Copies a safetensors file with other numbers in its half-precision scalars; the standard library suffices."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from .errors import DevError

_LENGTH = struct.Struct("<Q")
_HALF = struct.Struct("<e")


def copy_with_scalars(source: Path, target: Path, values: Mapping[str, float]) -> None:
    """Copies a file and replaces some of its scalars.

    Args:
        source: A safetensors file: length of the header, header as JSON, tensors.
        target: The copy; replaced if it exists.
        values: New value of each named scalar.

    Raises:
        DevError: A name is missing in the file, or is no float16 scalar there.
    """
    content = bytearray(source.read_bytes())
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    header = json.loads(content[_LENGTH.size : start])
    for name, value in values.items():
        entry = header.get(name, {})
        if entry.get("dtype") != "F16" or entry.get("shape") != []:
            raise DevError(
                f'"{source.name}" has no scalar "{name}" to replace',
                got=f"{entry or 'nothing of that name'}",
                expected="a tensor of type F16 without dimensions",
                fix="restore the file from the repository, or train it again with dev.py zoo train",
            )
        _HALF.pack_into(content, start + entry["data_offsets"][0], value)
    target.write_bytes(content)

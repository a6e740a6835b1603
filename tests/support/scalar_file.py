"""A small safetensors file, written without any library."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def write_file(path: Path, **scalars: float) -> Path:
    """Write a file of half-precision scalars behind one weight; return its path."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    header["weight"] = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}
    for index, name in enumerate(scalars):
        offset = 4 + 2 * index
        header[name] = {"dtype": "F16", "shape": [], "data_offsets": [offset, offset + 2]}
    text = json.dumps(header).encode()
    data = struct.pack(f"<{2 + len(scalars)}e", 1.0, 2.0, *scalars.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path

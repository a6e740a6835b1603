"""Reads files of others without trusting them: JSON, and what `torch.save` wrote.

Out of a torch file come numbers, text, containers and tensors, nothing else. torch.load runs the file's own code unless it is told not to, and in some releases even then. Here a name in the
file is looked up in a closed list of inert stand-ins made for this one file; no other name is imported or called.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .errors import ArtefactError

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of a file, and of everything in it once unpacked."""
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def load_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ArtefactError: If the file is too large, damaged, or holds something else.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ArtefactError(f"it has more than {MAX_FILE_BYTES} bytes")
        return parse_json(path.read_text(encoding="utf-8"))
    except (ArtefactError, OSError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"'{path.name}' cannot be read: {error}. Expected JSON text. Fetch it again."
        ) from error


def parse_json(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises:
        ArtefactError: If it is none, or holds a number that is no number.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"it is no JSON ({str(error)[:200]})") from error
    if not isinstance(data, dict):
        raise ArtefactError(f"it is a JSON {type(data).__name__}, expected an object")
    return data


def load_torch(path: Path) -> Any:
    """Return the contents of a file of torch's zip format; an `argparse.Namespace` comes back as a dict.

    Raises:
        ArtefactError: If the file is too large, damaged, or needs more than data.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ArtefactError(f"it has more than {MAX_FILE_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            return _plain(_Unpickler(archive).load())
    except ArtefactError as error:
        raise ArtefactError(
            f"'{path.name}' was not opened: {error}. Expected a small torch file that holds data only, as published routers "
            "do; use no file from a source you do not trust."
        ) from error
    except Exception as error:
        # Whatever a malformed pickle makes of the interpreter, it is the file's fault.
        raise ArtefactError(
            f"'{path.name}' is no torch file that can be read ({type(error).__name__}: {str(error)[:200]}). Expected the "
            "zip format that torch.save writes since version 1.6. Fetch the file again."
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


class _Entries(dict[Any, Any]):
    """A dict that, unlike a plain one, may carry the attributes torch puts on a state dict."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise ArtefactError(f"it holds {len(names)} files 'data.pkl', expected one")
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_FILE_BYTES:
            raise ArtefactError(f"it unpacks to {unpacked} bytes, at most {MAX_FILE_BYTES} are read")
        self._archive, self._folder = archive, names[0].rpartition("/")[0]
        self._storages: dict[str, Tensor] = {}
        self._known = _stand_ins()
        self._check_byte_order()
        super().__init__(io.BytesIO(archive.read(names[0])))

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self._known:
            raise ArtefactError(f"it asks for '{full}', which is not data and could run code")
        return self._known[full]

    def persistent_load(self, reference: Any) -> Tensor:
        kind, dtype, key, _, count = reference
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ArtefactError("it refers to something that is no tensor's storage")
        if key not in self._storages:
            raw = self._archive.read(f"{self._folder}/data/{key}")
            if len(raw) != count * dtype.itemsize:
                raise ArtefactError(f"storage '{key}' has {len(raw)} bytes, expected {count} of {dtype}")
            self._storages[key] = (
                torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]

    def _check_byte_order(self) -> None:
        name = f"{self._folder}/byteorder"
        if name in self._archive.namelist() and self._archive.read(name) != b"little":
            raise ArtefactError("its numbers are big-endian")


def _stand_ins() -> dict[str, Any]:
    """Return what the names in a file may stand for; made anew, so that a file can spoil no later one."""

    def rebuild_tensor(*described: Any) -> Tensor:
        return _rebuild_tensor(*described)

    def rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
        return data

    entries = type("Entries", (_Entries,), {})
    namespace = type("Namespace", (SimpleNamespace,), {})
    known: dict[str, Any] = {f"torch.{name}": dtype for name, dtype in DTYPES.items()}
    return known | {
        "collections.OrderedDict": entries,
        "argparse.Namespace": namespace,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": rebuild_parameter,
    }


def _rebuild_tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """Return a view of the part of `storage` that the file describes: a file cannot multiply what it holds.

    Raises:
        ArtefactError: If it reaches beyond the storage, or repeats it to grow larger.
    """
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise ArtefactError(f"a tensor of size {size} and stride {stride} makes no sense")
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    count = math.prod(size)
    if count > storage.numel() or (count and reach > storage.numel()):
        raise ArtefactError(f"a tensor of size {size} is larger than its storage of {storage.numel()}")
    return storage.as_strided(size, stride, offset)


def _plain(value: Any) -> Any:
    """Return dicts in the place of the stand-ins, at the two levels that published files have."""
    if isinstance(value, SimpleNamespace):
        return dict(vars(value))
    if isinstance(value, dict):
        return {
            key: dict(vars(item)) if isinstance(item, SimpleNamespace) else item
            for key, item in value.items()
        }
    return value

"""Reads and writes artefact files: safetensors with one JSON object of metadata under the key `feature_cache`.

Nothing read can run code or allocate without bound: sizes are checked in the header, before a tensor is loaded.
Nothing written can replace an existing file.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .artefact import Architecture, Artefact, Kind, Sampling, purpose
from .errors import ArtefactError
from .layouts import layout_faults
from .types import Level
from .untrusted import parse_json

KEY = "feature_cache"
VERSION = 1
MAX_HEADER_BYTES = 4 * 1024 * 1024
MAX_FILE_BYTES = 2 * 1024**3
SUFFIX = ".safetensors"


def read_artefact(path: Path) -> Artefact:
    """Return the artefact in a file.

    Raises:
        ArtefactError: If the file is too large, damaged, of a later version or invalid; the text says what is wrong.
    """
    try:
        _check_sizes(path)
        with safe_open(path, framework="pt") as file:
            data = _metadata(file.metadata() or {})
            header = _header(data)
            faults = [fault for name in file.keys() for fault in _layout_faults(file, name, header)]  # noqa: SIM118
            _refuse(faults)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return Artefact(name=path.name, tensors=tensors, **header)
    except (ArtefactError, SafetensorError, OSError) as error:
        raise ArtefactError(
            f"The artefact '{path.name}' cannot be used: {str(error).rstrip('.')}. Expected a file as this pack writes "
            "it. Fetch it again, or make a new one."
        ) from error


def read_label(path: Path) -> tuple[Kind | None, str]:
    """Return of what kind the artefact in a file is and what it was made for, from its header alone.

    None and "" stand for what cannot be read: a damaged file is told of when it is used.
    """
    kind: Kind | None = None
    try:
        _check_sizes(path)
        with safe_open(path, framework="pt") as file:
            data = _metadata(file.metadata() or {})
        kind = next((kind for kind in Kind if kind.value == data.get("kind")), None)
        header = _header(data)
    except (ArtefactError, SafetensorError, OSError):
        return kind, ""
    return kind, purpose(header["architecture"], header["sampling"])


def write_artefact(artefact: Artefact, path: Path) -> None:
    """Write a new file; it appears whole or not at all.

    Raises:
        ArtefactError: If there is a file of that name already; see `unused_path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in artefact.tensors.items()}
        save_file(tensors, partial, metadata={KEY: json.dumps(_as_json(artefact), allow_nan=False)})
        _publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def unused_path(folder: Path, name: str) -> Path:
    """Return the path of a file in `folder` that does not exist: `name`, or `name_2` and so on.

    Raises:
        ArtefactError: If `name` is no plain file name.
    """
    stem = name.removesuffix(SUFFIX)
    if not re.fullmatch(r"\w[\w. -]{0,120}", stem):
        raise ArtefactError(
            f"'{name}' is no name for an artefact. Expected letters, digits, '_', '-', '.' and blanks, without a folder."
        )
    number, path = 1, folder / f"{stem}{SUFFIX}"
    while path.exists():
        number += 1
        path = folder / f"{stem}_{number}{SUFFIX}"
    return path


def _check_sizes(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ArtefactError(f"it has {size} bytes, at most {MAX_FILE_BYTES} are read")
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(MAX_HEADER_BYTES, size):
        raise ArtefactError(f"its header claims {header} bytes, at most {MAX_HEADER_BYTES} are read")


def _metadata(metadata: dict[str, str]) -> dict[str, Any]:
    if KEY not in metadata:
        raise ArtefactError(f"it is no artefact of this pack: its metadata has no '{KEY}'")
    data = parse_json(metadata[KEY])
    if data.get("version") != VERSION:
        raise ArtefactError(
            f"its version is {data.get('version')!r}, this pack reads {VERSION}; update the pack"
        )
    return data


def _header(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an `Artefact`, but its tensors, from JSON.

    Raises:
        ArtefactError: With every field that is missing or of the wrong type.
    """
    fields = _Fields(data)
    network, sampling = _Fields(data.get("architecture")), _Fields(data.get("sampling"))
    size = sampling.many("size", int)
    read = {
        "kind": fields.choice("kind", Kind),
        "method": fields.one("method", str),
        "architecture": Architecture(
            family=network.one("family", str),
            level=network.choice("level", Level),
            sites=network.many("sites", str),
            blocks=tuple(network.counts("blocks")),
            hidden_size=network.maybe("hidden_size", int),
        ),
        "sampling": Sampling(
            num_steps=sampling.maybe("num_steps", int),
            sigmas=sampling.many("sigmas", int, float),
            sampler=sampling.maybe("sampler", str),
            scheduler=sampling.maybe("scheduler", str),
            cfg=sampling.maybe("cfg", int, float),
            size=(size[0], size[1]) if len(size) == 2 else None,
        ),
        "threshold": fields.maybe("threshold", int, float),
        "made": fields.scalars("made", str, int, float, bool),
        "measured": fields.scalars("measured", int, float),
    }
    _refuse(fields.faults + network.faults + sampling.faults)
    return read


class _Fields:
    """The fields of a JSON object from a file nobody vouches for; what is wrong with them gathers in `faults`."""

    def __init__(self, data: Any) -> None:
        self.data: dict[str, Any] = data if isinstance(data, dict) else {}
        self.faults: list[str] = []

    def one(self, name: str, *kinds: type) -> Any:
        value = self.data.get(name)
        if not _is(value, *kinds):
            self.faults.append(f"'{name}' is {str(value)[:80]!r}, expected {kinds[0].__name__}")
        return value

    def maybe(self, name: str, *kinds: type) -> Any:
        return None if self.data.get(name) is None else self.one(name, *kinds)

    def choice(self, name: str, options: type[Any]) -> Any:
        values = {option.value: option for option in options}
        value = self.data.get(name)
        if not isinstance(value, str) or value not in values:
            self.faults.append(f"'{name}' is {str(value)[:80]!r}, expected one of {', '.join(values)}")
            return next(iter(values.values()))
        return values[value]

    def many(self, name: str, *kinds: type) -> tuple[Any, ...]:
        value = self.data.get(name) or []
        if not isinstance(value, list) or not all(_is(item, *kinds) for item in value):
            self.faults.append(f"'{name}' is no list of {kinds[0].__name__}")
            return ()
        return tuple(value)

    def counts(self, name: str) -> Iterable[tuple[str, int]]:
        for pair in self.many(name, list):
            if len(pair) == 2 and _is(pair[0], str) and _is(pair[1], int):
                yield pair[0], pair[1]
            else:
                self.faults.append(f"'{name}' holds {str(pair)[:80]}, expected a name and a number")

    def scalars(self, name: str, *kinds: type) -> dict[str, Any]:
        value = self.data.get(name) or {}
        if not isinstance(value, dict) or not all(_is(item, *kinds) for item in value.values()):
            self.faults.append(f"'{name}' is no flat object")
            return {}
        return value


def _is(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _layout_faults(file: Any, name: str, header: dict[str, Any]) -> list[str]:
    view = file.get_slice(name)
    dtype = {"BOOL": "bool", "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    return layout_faults(
        name,
        tuple(view.get_shape()),
        dtype.get(view.get_dtype(), view.get_dtype()),
        header["sampling"].num_steps,
        len(header["architecture"].sites),
    )


def _refuse(faults: list[str]) -> None:
    if faults:
        raise ArtefactError("; ".join(faults))


def _as_json(artefact: Artefact) -> dict[str, Any]:
    return {
        "version": VERSION,
        "kind": artefact.kind.value,
        "method": artefact.method,
        "architecture": asdict(artefact.architecture) | {"level": artefact.architecture.level.value},
        "sampling": asdict(artefact.sampling),
        "threshold": artefact.threshold,
        "made": dict(artefact.made),
        "measured": dict(artefact.measured),
    }


def _publish(partial: Path, path: Path) -> None:
    """Give a finished file its name, unless that is taken: first reserved, then replaced in one go."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError as error:
        raise ArtefactError(f"'{path.name}' exists and is not replaced. Choose another name.") from error
    try:
        # safetensors makes files that only their owner may read.
        partial.chmod(path.stat().st_mode)
        partial.replace(path)
    except OSError:
        path.unlink()
        raise

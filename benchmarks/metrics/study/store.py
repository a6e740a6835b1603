"""Keeps what was measured, so that an interrupted study goes on where it stopped.

One file per cell and batch of seeds, in a folder named after the model and a checksum of all that the numbers
depend on: another checkpoint, autoencoder, classifier or precision never meets them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Record = dict[str, NDArray[np.float64] | NDArray[np.float32]]


def fingerprint(files: Iterable[Path], words: Iterable[str]) -> str:
    """Twelve hexadecimal digits that change with any of the files' bytes or of the words."""
    digest = hashlib.sha256("\n".join(words).encode("utf-8"))
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def batches(count: int, size: int) -> list[range]:
    """Seeds 0 to `count` - 1 in fixed batches, so that a later run with more seeds can use the earlier ones."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def record_path(folder: Path, cell_name: str, seeds: range) -> Path:
    """Where the record of a cell and batch is kept."""
    return folder / cell_name / f"{seeds.start:05d}_{len(seeds)}.npz"


def write_record(path: Path, record: Record) -> None:
    """Write a record whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as file:
        np.savez(file, **record)  # type: ignore[arg-type]
    partial.replace(path)


def read_record(path: Path) -> Record:
    """Read a record that `write_record` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_all(folder: Path, cell_name: str, seeds: list[range]) -> Record:
    """The records of all batches, joined along the seeds."""
    records = [read_record(record_path(folder, cell_name, batch)) for batch in seeds]
    return {name: np.concatenate([record[name] for record in records]) for name in records[0]}

"""Files of others: data comes out, code does not run, memory is bounded."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from cache_core import ArtefactError, untrusted
from cache_core.untrusted import load_json, load_torch


def _zipped(path: Path, content: Any, **members: bytes) -> Path:
    """Write a torch-like archive around any pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "archive/data.pkl", content if isinstance(content, bytes) else pickle.dumps(content, 2)
        )
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return path


def test_what_torch_saved_comes_back(tmp_path: Path) -> None:
    content = {
        "float": torch.randn(3, 4).t(),
        "half": torch.randn(2).half(),
        "view": torch.arange(10.0)[2:5],
        "empty": torch.zeros(0),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "args": argparse.Namespace(model="DiT", l1=1e-6, nested=[1, (2, None)]),
    }
    torch.save(content, tmp_path / "x.pt")
    loaded = load_torch(tmp_path / "x.pt")
    assert loaded.pop("args") == {"model": "DiT", "l1": 1e-6, "nested": [1, (2, None)]}
    content.pop("args")
    for name, tensor in content.items():
        assert torch.equal(loaded[name], tensor), name


class _Attack:
    def __init__(self, function: Any, *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (_Attack(os.system, "touch hacked"), "system"),
        (_Attack(eval, "1"), "eval"),
        (_Attack(getattr, 1, "real"), "getattr"),
        (_Attack(exec, "1"), "exec"),
        (torch.nn.Linear(1, 1), "torch.nn"),
        (b"cbuiltins\n__import__\n(S'os'\ntR.", "__import__"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"ctorch\nload\n.", "torch.load"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "__globals__"),
    ],
)
def test_what_is_no_data_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtefactError, match="which is not data and could run code") as caught:
        load_torch(_zipped(tmp_path / "x.pt", content))
    assert name in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_a_file_cannot_change_what_later_files_mean(tmp_path: Path) -> None:
    """The pickle sets an attribute on the stand-in for Namespace itself; the next file does not see it."""
    spoiling = b"\x80\x02cargparse\nNamespace\n(N}X\x04\x00\x00\x00evilK\x01stb."
    load_torch(_zipped(tmp_path / "a.pt", spoiling))
    torch.save({"args": argparse.Namespace(x=1)}, tmp_path / "b.pt")
    assert load_torch(tmp_path / "b.pt")["args"] == {"x": 1}
    assert not hasattr(argparse.Namespace, "evil")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    """Stride 0 would make a terabyte of one number."""
    huge = torch.zeros(1).expand(2**38)
    torch.save({"x": huge}, tmp_path / "x.pt")
    with pytest.raises(ArtefactError, match="is larger than its storage of 1"):
        load_torch(tmp_path / "x.pt")


def test_a_storage_of_another_size_is_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(100)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        members = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    content = members.pop("data.pkl")
    members["data/0"] = bytes(10)
    with pytest.raises(ArtefactError, match=r"storage '0' has 10 bytes, expected 100 of torch.float32"):
        load_torch(_zipped(tmp_path / "y.pt", content, **members))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "MAX_FILE_BYTES", 10_000)
    path = _zipped(tmp_path / "x.pt", {}, bomb=bytes(1_000_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(ArtefactError, match="unpacks to 1000006 bytes, at most 10000 are read"):
        load_torch(path)


def test_big_endian_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="big-endian"):
        load_torch(_zipped(tmp_path / "x.pt", {}, byteorder=b"big"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps({"x": 1}), b"\x80\x02}q\x00." * 9])
def test_what_is_no_torch_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"'x.pt' is no torch file that can be read"):
        load_torch(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "content", [b".", b"\x80\x02", b"(((((", b"\x80\x04\x95" + b"\xff" * 8, b"N" * 50 + b"t."]
)
def test_damaged_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArtefactError):
        load_torch(_zipped(tmp_path / "x.pt", content))


def test_every_cut_of_a_torch_file_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"x": torch.arange(8.0)}, buffer)
    whole = buffer.getvalue()
    for length in range(0, len(whole) - 1, 61):
        (tmp_path / "x.pt").write_bytes(whole[:length])
        with pytest.raises(ArtefactError):
            load_torch(tmp_path / "x.pt")


def test_a_json_object_comes_back(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"a": [1]}), encoding="utf-8")
    assert load_json(tmp_path / "x.json") == {"a": [1]}


@pytest.mark.parametrize("content", [b"[1]", b"{", b"", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_bad_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"'x.json' cannot be read"):
        load_json(tmp_path / "x.json")

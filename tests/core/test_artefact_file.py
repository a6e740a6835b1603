"""Artefact files: everything comes back, nothing bad comes in, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import published
import pytest
import torch
from safetensors.torch import save_file

from cache_core import (
    Artefact,
    ArtefactError,
    Kind,
    Sampling,
    artefact_file,
    read_artefact,
    read_label,
    unused_path,
    write_artefact,
)

FLUX = published.architecture("flux", published.flux_sites())


def _whole() -> Artefact:
    return Artefact(
        kind=Kind.ROUTER,
        method="learning_to_cache",
        architecture=FLUX,
        sampling=Sampling(
            num_steps=2, sigmas=(1.0, 0.5, 0.0), sampler="euler", scheduler="simple", cfg=4.5, size=(64, 32)
        ),
        tensors={"score": torch.randn(2, len(FLUX.sites))},
        threshold=0.25,
        made={"prompts": 12, "loss": 0.5, "source": "a test"},
        measured={"refresh_ratio": 0.75},
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "router.safetensors"
    write_artefact(_whole(), path)
    return path


def test_its_purpose_is_read_without_its_tensors(tmp_path: Path) -> None:
    write_artefact(_whole(), tmp_path / "a.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    kind, told = read_label(tmp_path / "a.safetensors")
    assert kind is _whole().kind
    assert told == "flux (2 double blocks and 1 single blocks), 2 steps, euler, simple, cfg 4.5, 64 x 32"
    assert told in read_artefact(tmp_path / "a.safetensors").describe()
    assert read_label(tmp_path / "broken.safetensors") == (None, "")


def test_everything_comes_back(tmp_path: Path) -> None:
    whole = _whole()
    write_artefact(whole, tmp_path / "r.safetensors")
    back = read_artefact(tmp_path / "r.safetensors")
    for name in ("kind", "method", "architecture", "sampling", "threshold", "made", "measured"):
        assert getattr(back, name) == getattr(whole, name), name
    assert back.name == "r.safetensors"
    assert torch.equal(back.tensors["score"], whole.tensors["score"])


def test_an_existing_file_is_never_replaced(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(ArtefactError, match=r"'router.safetensors' exists and is not replaced"):
        write_artefact(_whole(), saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name], "no partial file is left"


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(artefact_file, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        write_artefact(_whole(), tmp_path / "r.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_free_name_is_found(saved: Path) -> None:
    assert unused_path(saved.parent, "other").name == "other.safetensors"
    assert unused_path(saved.parent, "router.safetensors").name == "router_2.safetensors"


@pytest.mark.parametrize("name", ["../router", "a/b", "a\\b", "", ".hidden", "con\n", "/etc/x"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match="is no name for an artefact"):
        unused_path(tmp_path, name)


def _rewritten(path: Path, **changes: Any) -> Path:
    """Write the file again with another metadata object and the same tensors."""
    whole = _whole()
    data = artefact_file._as_json(whole) | changes
    metadata = {"feature_cache": json.dumps(data)}
    save_file(dict(whole.tensors), path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"version": 2}, "its version is 2, this pack reads 1"),
        ({"kind": "virus"}, "'kind' is 'virus', expected one of mask, router"),
        ({"kind": ["mask"]}, "'kind' is \"['mask']\", expected one of"),
        ({"method": 3}, "'method' is '3', expected str"),
        ({"architecture": None}, "'family' is 'None', expected str"),
        ({"architecture": {"family": "flux", "level": "module", "sites": [1]}}, "'sites' is no list of str"),
        ({"sampling": {"num_steps": "many"}}, "'num_steps' is 'many', expected int"),
        ({"sampling": {"num_steps": True}}, "'num_steps' is 'True', expected int"),
        ({"sampling": {"num_steps": 2, "sigmas": ["x"]}}, "'sigmas' is no list of int"),
        ({"sampling": {"num_steps": 3}}, "tensor 'score' has shape (2, 9), expected (3, 9)"),
        ({"made": {"a": {"b": 1}}}, "'made' is no flat object"),
        ({"measured": [1]}, "'measured' is no flat object"),
        ({"threshold": float("nan")}, "it is no JSON (NaN is no number)"),
    ],
)
def test_bad_metadata_is_refused_with_the_field(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ArtefactError, match=r"'bad.safetensors' cannot be used") as caught:
        read_artefact(_rewritten(tmp_path / "bad.safetensors", **changes))
    assert fault in str(caught.value)


def test_tensors_are_checked_before_they_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that promises other shapes than the metadata must not cost memory."""
    path = _rewritten(tmp_path / "r.safetensors", sampling={"num_steps": 1})
    monkeypatch.setattr(artefact_file, "Artefact", None)
    with pytest.raises(ArtefactError, match="expected"):
        read_artefact(path)


def test_a_plain_safetensors_file_is_no_artefact(tmp_path: Path) -> None:
    save_file({"score": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(ArtefactError, match="it is no artefact of this pack"):
        read_artefact(tmp_path / "lora.safetensors")


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{}"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.safetensors").write_bytes(content)
    with pytest.raises(ArtefactError, match="cannot be used"):
        read_artefact(tmp_path / "r.safetensors")


def test_every_cut_of_a_file_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), 97):
        saved.write_bytes(whole[:length])
        with pytest.raises(ArtefactError):
            read_artefact(saved)


def test_a_file_beyond_the_limit_is_not_opened(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefact_file, "MAX_FILE_BYTES", 100)
    with pytest.raises(ArtefactError, match="at most 100 are read"):
        read_artefact(saved)


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    save_file(
        {"score": torch.zeros(1)}, tmp_path / "r.safetensors", metadata={"feature_cache": "[" * 100_000}
    )
    with pytest.raises(ArtefactError, match="it is no JSON"):
        read_artefact(tmp_path / "r.safetensors")

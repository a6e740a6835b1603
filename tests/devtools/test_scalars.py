"""A safetensors file is copied with other scalars, and nothing else in it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from scalar_file import write_file

from devtools.errors import DevError
from devtools.scalars import copy_with_scalars


def test_the_named_scalars_change_and_the_rest_stays(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a", scale=0.25, shift=0.5)
    copy_with_scalars(source, tmp_path / "b", {"shift": 3.5})
    assert (tmp_path / "b").read_bytes() == write_file(tmp_path / "c", scale=0.25, shift=3.5).read_bytes()
    assert source.read_bytes() == write_file(tmp_path / "d", scale=0.25, shift=0.5).read_bytes()


@pytest.mark.parametrize("name", ["missing", "weight"])
def test_what_is_no_scalar_of_the_file_is_refused(tmp_path: Path, name: str) -> None:
    source = write_file(tmp_path / "a", scale=0.25)
    with pytest.raises(DevError, match=f'no scalar "{name}"'):
        copy_with_scalars(source, tmp_path / "b", {name: 1.0})
    assert not (tmp_path / "b").exists()

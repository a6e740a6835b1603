from __future__ import annotations

from pathlib import Path

import pytest

from devtools import filesystem, host
from devtools.errors import DevError
from devtools.paths import claim, layout


def test_too_little_space_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(DevError, match="not enough disk space") as caught:
        filesystem.require_space(tmp_path, 4_000_000_000, "a first set-up", free=lambda _: 1_500_000_000)
    assert "1.5 GB free" in caught.value.got
    assert "4.0 GB" in caught.value.expected
    assert "FEATURECACHE_HOME" in caught.value.fix


def test_enough_space_passes(tmp_path: Path) -> None:
    filesystem.require_space(tmp_path, 10, "a test", free=lambda _: 10)


def test_a_set_up_without_space_makes_no_environment(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = layout(checkout=checkout)
    monkeypatch.setattr(filesystem.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0})())
    with pytest.raises(DevError, match="not enough disk space"):
        host.ensure_setup(place)
    assert not place.environments.exists()


def test_free_space_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert filesystem.free_bytes(tmp_path / "not" / "yet") > 0


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    filesystem.link_folder(tmp_path / "real", tmp_path / "link")
    assert (tmp_path / "link" / "file").exists()
    filesystem.remove(tmp_path / "link")
    assert (tmp_path / "real" / "file").exists()
    assert not (tmp_path / "link").exists()


def test_a_file_is_linked_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_text("weights")
    filesystem.link_file(tmp_path / "source", tmp_path / "models" / "link")
    assert (tmp_path / "models" / "link").read_text() == "weights"

    def refuse(*_: object) -> None:
        raise OSError("no right to make links")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    filesystem.link_file(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "weights"
    assert not (tmp_path / "copy").is_symlink()


def test_the_cache_folder_must_be_ours_alone(checkout: Path, tmp_path: Path) -> None:
    place = layout(tmp_path / "cache", checkout)
    claim(place)
    (place.home / "logs").mkdir()
    claim(place)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(DevError, match="holds other things"):
        claim(layout(tmp_path / "photos", checkout))


def test_a_file_as_cache_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DevError, match="not a folder"):
        layout(tmp_path / "file")

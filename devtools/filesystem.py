"""Folders that appear whole or not at all, links that work on every platform, free space."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .console import human_bytes
from .errors import DevError
from .paths import HOME_VARIABLE

PARTIAL = ".partial-"
"""Names of half-made folders begin so; whoever comes next removes them."""

FreeSpace = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """Returns the free bytes of the disk that holds a folder, or will hold it."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free


def require_space(folder: Path, needed: int, purpose: str, free: FreeSpace = free_bytes) -> None:
    """Checks before a download that the disk can take it.

    Args:
        folder: Where the data will go.
        needed: Bytes.
        purpose: What they are for.
        free: Asks how many bytes are free.

    Raises:
        DevError: Too little is free.
    """
    available = free(folder)
    if available < needed:
        raise DevError(
            f"not enough disk space for {purpose}",
            got=f"{human_bytes(available)} free for {folder}",
            expected=f"about {human_bytes(needed)}",
            fix=f"free some space, or put the cache folder on another disk with {HOME_VARIABLE} or --cache-dir",
        )


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Gives a temporary sibling to fill; renames it to `target` at the end, removes it on any failure.

    Hold a lock around it: what a killed run left beside the target is cleared first.

    Args:
        target: The folder that shall appear; must not exist yet.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob(f"{PARTIAL}{target.name}-*"):
        remove(stale)
    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{target.name}-", dir=target.parent))
    try:
        yield partial
        partial.rename(target)
    except BaseException:
        remove(partial)
        raise


def remove(path: Path) -> None:
    """Removes a file, a link (not what it points to) or a whole folder; nothing there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, onerror=_make_writable_and_retry)


def _make_writable_and_retry(function: Callable[[str], object], path: str, _error: object) -> None:
    # Windows refuses to delete read-only files, and git makes its objects read-only.
    Path(path).chmod(0o700)
    function(path)


def tree_size(folder: Path) -> int:
    """Returns the bytes of all files below a folder, links not followed."""
    sizes = ((Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)
    return sum(sizes)


def link_folder(source: Path, link: Path) -> None:
    """Makes `link` show the folder `source`: a symbolic link, on Windows a junction (needs no rights)."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(source)], check=True, capture_output=True)
    else:
        link.symlink_to(source, target_is_directory=True)


def link_file(source: Path, link: Path) -> None:
    """Makes `link` show the file `source`: a symbolic link, else a hard link, else a copy."""
    link.parent.mkdir(parents=True, exist_ok=True)
    for attempt in (link.symlink_to, link.hardlink_to):
        try:
            attempt(source)
        except OSError:
            continue
        return
    shutil.copyfile(source, link)

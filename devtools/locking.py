"""A lock between processes that set up the same thing; the system frees it when its holder dies."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .console import say
from .errors import DevError

_POLL_SECONDS = 0.5


@contextmanager
def locked(path: Path, timeout: float = 1800.0) -> Iterator[None]:
    """Holds an exclusive lock on a file while the block runs.

    Args:
        path: The lock file; made if need be, left in place (removing it would be a race).
        timeout: Seconds to wait for another process.

    Raises:
        DevError: Another process held the lock all that time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        _wait(file.fileno(), path, timeout)
        yield


def _wait(descriptor: int, path: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    announced = False
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            raise DevError(
                "another process is setting up the same cache folder and does not finish",
                got=f"{path} still locked after {timeout:.0f} s",
                expected="one set-up at a time",
                fix="end the other dev.py, or use another cache folder with --cache-dir",
            )
        if not announced:
            say(f"    waiting for another process that holds {path}")
            announced = True
        time.sleep(_POLL_SECONDS)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

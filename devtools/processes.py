"""Child processes: started in a group of their own, watched, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .console import Ticker
from .errors import DevError
from .paths import Layout

_TERMINATE_SECONDS = 10.0


def child_environment(layout: Layout, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of every child: ours, less what would leak into it.

    A foreign PYTHONPATH can shadow ComfyUI's modules. Bytecode is wanted, or ComfyUI starts twice as slowly,
    but it goes to the cache folder, so that neither the checkout nor a user's ComfyUI is written to.

    Args:
        layout: Where the cache folder is.
        extra: Variables to add.
    """
    dropped = {"PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    ours = {
        "PYTHONPYCACHEPREFIX": str(layout.caches / "bytecode"),
        "PYTHONUNBUFFERED": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "DO_NOT_TRACK": "1",
    }
    return {**kept, **ours, **(extra or {})}


def spawn(
    argv: Sequence[str], *, log: IO[bytes], env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Starts a child in a process group of its own, without stdin, its output in `log`.

    Args:
        argv: Program and arguments.
        log: Open binary file for stdout and stderr.
        env: The child's whole environment.
        cwd: Its working folder.
    """
    windows = sys.platform == "win32"
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=not windows,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) if windows else 0,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a child of `spawn` and everything that it started; first politely, then for certain."""
    _signal_group(process, force=False)
    try:
        process.wait(_TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Also after the leader has gone: grandchildren may have ignored the polite request.
        _signal_group(process, force=True)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], *, force: bool) -> None:
    if sys.platform == "win32":
        if process.poll() is None:
            flags = ["/F"] if force else []
            subprocess.run(
                ["taskkill", "/T", *flags, "/PID", str(process.pid)], check=False, capture_output=True
            )
        return
    try:
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        # The group has gone already (macOS answers PermissionError for a group of zombies).
        return


def run_logged(
    argv: Sequence[str],
    *,
    log: Path,
    what: str,
    fix: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float | None = None,
) -> None:
    """Runs a long child, shows its last output line while it works, keeps all of it in a log file.

    Args:
        argv: Program and arguments.
        log: File for the output; overwritten.
        what: What has gone wrong if it fails, for the error.
        fix: What the user can do then.
        env: The child's whole environment.
        cwd: Its working folder.
        timeout: Seconds after which it counts as failed; None waits for ever.

    Raises:
        DevError: Non-zero exit status, or out of time. The child and its group are gone by then.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = spawn(argv, log=output, env=env, cwd=cwd)
        try:
            in_time = _watch(process, log, timeout)
        finally:
            if process.poll() is None:
                stop(process)
    if not in_time or process.returncode:
        cause = f"exit status {process.returncode}" if in_time else f"no end after {timeout:.0f} s"
        raise DevError(
            what, got=f"{cause}; the end of {log}:\n{tail(log)}", expected="exit status 0", fix=fix
        )


def _watch(process: subprocess.Popen[bytes], log: Path, timeout: float | None) -> bool:
    ticker = Ticker()
    try:
        while process.poll() is None:
            if timeout is not None and time.monotonic() - ticker.start > timeout:
                return False
            time.sleep(0.1)
            ticker.tick(tail(log, lines=1))
        return True
    finally:
        ticker.close()


def tail(log: Path, lines: int = 15) -> str:
    """Returns the last lines of a log file, empty if there is none; pip's warnings say little and are left out.

    Args:
        log: A text file in any encoding; read from its last 16 kB.
        lines: How many lines at most.
    """
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16384))
        text = file.read().decode("utf-8", errors="replace")
    filled = [
        line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("WARNING: ")
    ]
    return "\n".join(filled[-lines:])

"""Private virtual environments, each stamped with what it was made from."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .console import step
from .errors import DevError
from .filesystem import remove
from .locking import locked

_STAMP = "featurecache-stamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment in a folder."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return interpreter(self.folder)

    def script(self, name: str) -> Path:
        """Returns the path of a command that a package installed."""
        suffix = ".exe" if os.name == "nt" else ""
        return self.python.parent / f"{name}{suffix}"

    def matches(self, stamp: str) -> bool:
        """Returns whether it was made to the end, from just these inputs, and still has its interpreter."""
        file = self.folder / _STAMP
        return file.is_file() and file.read_text(encoding="utf-8") == stamp and self.python.exists()


Build = Callable[[Environment], None]


def interpreter(folder: Path) -> Path:
    """Returns where the interpreter of a virtual environment lies, on this platform."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def stamp_of(inputs: Mapping[str, str], python: Path | None = None) -> str:
    """Returns a digest of everything that an environment is made from.

    Args:
        inputs: Names and contents (versions, requirement files).
        python: The interpreter it is based on; ours if left out. Its version and place count too.
    """
    # Ours under whatever name it was called: `python` and `python3` are one interpreter.
    base = {
        "python": str(python or Path(sys.executable).resolve()),
        "version": sys.version if python is None else "",
    }
    text = json.dumps({**inputs, **base}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def ensure(folder: Path, inputs: Mapping[str, str], build: Build, python: Path | None = None) -> Environment:
    """Returns the environment in a folder, made anew where it is missing, half-made or from other inputs.

    Args:
        folder: Its place.
        inputs: What it depends on, by name.
        build: Installs the packages into the bare environment.
        python: The interpreter to base it on; ours if left out.

    Raises:
        DevError: It cannot be made; nothing of it is left then.
    """
    environment, stamp = Environment(folder=folder), stamp_of(inputs, python)
    if environment.matches(stamp):
        return environment
    with locked(folder.with_name(folder.name + ".lock")):
        if not environment.matches(stamp):
            _rebuild(environment, stamp, build, python or Path(sys.executable))
    return environment


def _rebuild(environment: Environment, stamp: str, build: Build, python: Path) -> None:
    remove(environment.folder)
    try:
        with step(f"Making a private environment: {environment.folder}"):
            _make_bare(environment.folder, python)
        build(environment)
        # Written last: an environment without it counts as half-made.
        (environment.folder / _STAMP).write_text(stamp, encoding="utf-8")
    except BaseException:
        remove(environment.folder)
        raise


def _make_bare(folder: Path, python: Path) -> None:
    made = subprocess.run(
        [str(python), "-m", "venv", str(folder)],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if made.returncode:
        raise DevError(
            "a virtual environment cannot be made",
            got=(made.stdout + made.stderr).strip() or f"exit status {made.returncode} of {python} -m venv",
            expected="a Python with the modules venv and ensurepip",
            fix="install them (Debian and Ubuntu: apt-get install python3-venv), or use another Python",
        )

"""What a ComfyUI folder looks like, and what is said of one that does not."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import DevError

VARIABLE = "COMFYUI_PATH"
"""Environment variable that names an existing ComfyUI."""

REQUIRED = ("main.py", "server.py", "nodes.py", "comfy", "comfyui_version.py", "requirements.txt")
"""What every ComfyUI folder holds."""

_WAY_OUT = f"set {VARIABLE} to the folder of a ComfyUI, or unset it: then one is fetched"


def check(folder: Path) -> None:
    """Checks that the folder that the user named is a ComfyUI.

    Raises:
        DevError: It is missing, or it is something else.
    """
    if not folder.is_dir():
        raise DevError(
            f"{VARIABLE} names no folder",
            got=f"{folder} ({'a file' if folder.exists() else 'nothing there'})",
            expected="the folder of a ComfyUI",
            fix=_WAY_OUT,
        )
    lacking = missing(folder)
    if lacking:
        raise DevError(
            f"{VARIABLE} names a folder that is no ComfyUI",
            got=f"{folder}, without {', '.join(lacking)}",
            expected=f"a folder with {', '.join(REQUIRED)}",
            fix=_WAY_OUT,
        )


def missing(folder: Path) -> list[str]:
    """Returns which required entries a folder lacks; empty for a ComfyUI."""
    return [name for name in REQUIRED if not (folder / name).exists()]


def version(folder: Path) -> str:
    """Returns the version that a ComfyUI folder states.

    Raises:
        DevError: It states none.
    """
    text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__\s*=\s*"([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise DevError(
            "a ComfyUI states no version",
            got=f'{folder / "comfyui_version.py"} without a line __version__ = "..."',
            expected="the file as ComfyUI ships it",
            fix=_WAY_OUT,
        )
    return found[1]


def own_environment(folder: Path) -> Path | None:
    """Returns the virtual environment with a torch that lies in or beside a ComfyUI, if there is one."""
    candidates = (place / name for place in (folder, folder.parent) for name in ("venv", ".venv"))
    return next((candidate for candidate in candidates if _has_torch(candidate)), None)


def own_embedded_python(folder: Path) -> Path | None:
    """Returns the interpreter of a portable ComfyUI for Windows, if this is one."""
    pythons = (place / "python_embeded" / "python.exe" for place in (folder.parent, folder))
    return next((python for python in pythons if python.is_file()), None)


def _has_torch(environment: Path) -> bool:
    # An environment beside the folder may well be another project's, so it must hold what ComfyUI needs most.
    windows, elsewhere = "Lib/site-packages/torch/__init__.py", "lib/python3*/site-packages/torch/__init__.py"
    return any(environment.glob(windows)) or any(environment.glob(elsewhere))

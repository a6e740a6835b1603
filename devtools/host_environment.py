"""The interpreter that runs a ComfyUI: a private environment, or a thin layer over the user's own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from . import packages, torch_remedy
from .environment import Environment, ensure, interpreter
from .errors import DevError
from .paths import Layout

_TOOLS = Path(__file__).parent / "requirements" / "host.txt"
_TOOL_MODULES = ("pytest", "mypy", "ruff", "matplotlib", "skimage", "websocket", "playwright")


def ensure_private(name: str, comfyui: Path, layout: Layout) -> Environment:
    """Returns a private environment with torch for the CPU, a ComfyUI's requirements and our tools.

    Args:
        name: Its folder's name in the cache folder.
        comfyui: The ComfyUI whose requirements.txt it serves.
        layout: Where the cache folder is.

    Raises:
        DevError: It cannot be made.
    """
    requirements = packages.without_torch(comfyui / "requirements.txt")

    def build(environment: Environment) -> None:
        packages.install_torch(environment, layout)
        files = _write(
            environment.folder, {"host.txt": requirements, "torch.txt": packages.torch_constraints()}
        )
        arguments = [
            "--requirement",
            files["host.txt"],
            "--requirement",
            str(_TOOLS),
            "--constraint",
            files["torch.txt"],
        ]
        packages.install(environment, layout, "Installing ComfyUI's requirements and our tools", arguments)
        torch_remedy.mend(environment, layout)

    inputs = {
        "requirements": requirements,
        "tools": _TOOLS.read_text(encoding="utf-8"),
        "torch": packages.torch_constraints(),
        "remedy": torch_remedy.remedy_text(),
    }
    return ensure(layout.environments / name, inputs, build)


def ensure_overlay(name: str, theirs: Path, layout: Layout) -> Environment:
    """Returns an environment of ours that shows a user's environment underneath and adds our tools.

    So the user's own environment runs ComfyUI, and nothing is installed into it.

    Args:
        name: Its folder's name in the cache folder.
        theirs: The user's virtual environment.
        layout: Where the cache folder is.

    Raises:
        DevError: It cannot be made.
    """
    python = interpreter(theirs)

    def build(environment: Environment) -> None:
        # addsitedir and not the bare path: so the .pth files of the user's environment take effect too.
        below = f"import site; site.addsitedir({str(_site_folder(python))!r})\n"
        (_site_folder(environment.python) / "featurecache_overlay.pth").write_text(below, encoding="utf-8")
        packages.install(environment, layout, "Installing our tools", ["--requirement", str(_TOOLS)])

    inputs = {"tools": _TOOLS.read_text(encoding="utf-8")}
    return ensure(layout.environments / name, inputs, build, python=python)


def require_tools(python: Path) -> Path:
    """Returns the interpreter of a portable ComfyUI, which can carry no layer, if it has what we need.

    Raises:
        DevError: Packages are missing.
    """
    probe = f"import importlib.util as u; print([m for m in {_TOOL_MODULES!r} if u.find_spec(m) is None])"
    answer = subprocess.run(
        [str(python), "-c", probe], check=True, capture_output=True, text=True
    ).stdout.strip()
    if answer != "[]":
        raise DevError(
            "the embedded Python of this ComfyUI lacks our development tools",
            got=f"without {answer} in {python}",
            expected=f"the packages of {_TOOLS}",
            fix=f"install them: {python} -m pip install -r {_TOOLS}\n"
            "or unset COMFYUI_PATH: then a private ComfyUI is fetched",
        )
    return python


def _site_folder(python: Path) -> Path:
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    answer = subprocess.run([str(python), "-c", ask], check=True, capture_output=True, text=True).stdout
    return Path(answer.strip())


def _write(folder: Path, contents: Mapping[str, str]) -> dict[str, str]:
    inside = folder / "requirements"
    inside.mkdir(exist_ok=True)
    for name, text in contents.items():
        (inside / name).write_text(text, encoding="utf-8")
    return {name: str(inside / name) for name in contents}

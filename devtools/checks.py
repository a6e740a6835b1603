"""The checks of `dev.py lint` and `dev.py test`: ruff, mypy, pytest, on a validly named view of the checkout.

mypy and pytest want the package folder's name to be a Python identifier, and a checkout can have any name.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import comfy_folder
from .console import say
from .filesystem import link_folder
from .host import Setup
from .locking import locked
from .paths import HOME_VARIABLE, Layout
from .processes import child_environment
from .server import remove_link

VIEW_NAME = "comfyui_featurecache"
_TYPED = ("__init__.py", "cache_core", "nodes", "devtools")

# Not `-m pytest`: that puts the working folder on sys.path, where our nodes/ would shadow ComfyUI's nodes.py.
_PYTEST = "import sys; sys.path[:] = [p for p in sys.path if p]; import pytest; sys.exit(pytest.main())"


def ensure_view(layout: Layout) -> Path:
    """Returns a link to the checkout whose name is a valid package name.

    Args:
        layout: Where the cache folder and the checkout are.
    """
    view = layout.views / layout.checkout_id / VIEW_NAME
    with locked(view.parent / "view.lock"):
        if not (view.exists() and view.samefile(layout.checkout)):
            remove_link(view)
            link_folder(layout.checkout, view)
    return view


def lint(setup: Setup, layout: Layout, *, fix: bool = False) -> list[str]:
    """Runs ruff and mypy.

    Args:
        setup: Its interpreter has the tools.
        layout: Where things are.
        fix: Whether ruff may change files.

    Returns:
        The names of the checks that failed.
    """
    view = ensure_view(layout)
    caches = layout.caches / layout.checkout_id
    cache = ["--cache-dir", str(caches / "ruff")]
    typing = ["--config-file", str(view / "pyproject.toml"), "--cache-dir", str(caches / "mypy")]
    typed = [str(view / name) for name in _TYPED if (view / name).exists()]
    ruff_check = ["-m", "ruff", "check", *cache, *(["--fix"] if fix else []), "."]
    ruff_format = ["-m", "ruff", "format", *cache, *([] if fix else ["--check"]), "."]
    statuses = {
        "ruff check": _run("ruff check", ruff_check, setup, layout, layout.checkout),
        "ruff format": _run("ruff format", ruff_format, setup, layout, layout.checkout),
        "mypy": _run("mypy", ["-m", "mypy", *typing, *typed], setup, layout, view.parent),
    }
    return [name for name, status in statuses.items() if status]


def test(setup: Setup, layout: Layout, arguments: Sequence[str], *, quick: bool = False) -> int:
    """Runs pytest with the host in its environment; a test that needs the host cannot be skipped.

    Args:
        setup: The host and the tools.
        layout: Where things are.
        arguments: pytest's own; paths below `tests` are taken from the checkout.
        quick: Whether to leave out what is marked slow.

    Returns:
        pytest's exit status.
    """
    view = ensure_view(layout)
    given = [_in_view(argument, view) for argument in arguments]
    paths = [] if any(argument.startswith(str(view)) for argument in given) else [str(view / "tests")]
    cache = layout.caches / layout.checkout_id / "pytest"
    # The configured --confcutdir is relative to the working folder, which is another one here.
    place = ["-o", "addopts=", "--import-mode=importlib", "-ra", f"--confcutdir={view / 'tests'}"]
    place += [f"--rootdir={view}", "-c", str(view / "pyproject.toml")]
    marks = ["-m", "not slow"] if quick else []
    options = [*place, "-o", f"cache_dir={cache}", *marks]
    # One folder up, so that pytest names tests relative to it; inside, the working folder loses its valid name.
    return _run("pytest", ["-c", _PYTEST, *options, *given, *paths], setup, layout, view.parent)


def _in_view(argument: str, view: Path) -> str:
    return str(view / argument) if Path(argument.split("::")[0]).parts[:1] == ("tests",) else argument


def _run(name: str, arguments: Sequence[str], setup: Setup, layout: Layout, cwd: Path) -> int:
    say(f"==> {name}")
    argv = [str(setup.host.python), *arguments]
    return subprocess.run(argv, check=False, cwd=cwd, env=environment(setup, layout)).returncode


def environment(setup: Setup, layout: Layout) -> dict[str, str]:
    """Returns the environment that tests, the demo and the zoo run in."""
    return child_environment(
        layout,
        {
            comfy_folder.VARIABLE: str(setup.host.folder),
            HOME_VARIABLE: str(layout.home),
            "FEATURECACHE_TOOLS_PYTHON": str(setup.tools.python),
            "FEATURECACHE_REQUIRE_HOST": "1",
        },
    )

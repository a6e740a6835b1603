"""Shared set-up: the core under its own name, helpers in `support`, and the real host where there is one."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The root's `nodes/` would shadow ComfyUI's nodes.py, so the root must not be on the path; the core is loaded by
# its place instead, as a researcher who installed the wheel would have it.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
sys.path.insert(0, str(ROOT / "tests" / "support"))


def _load_core() -> None:
    spec = importlib.util.spec_from_file_location("cache_core", ROOT / "cache_core" / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cache_core"] = module
    spec.loader.exec_module(module)


if "cache_core" not in sys.modules:
    _load_core()


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def host_path() -> Path:
    """Return the folder of a real ComfyUI; skip where there is none, unless the host is required."""
    given = os.environ.get("COMFYUI_PATH")
    if given and (Path(given) / "comfyui_version.py").is_file():
        return Path(given)
    message = (
        f"COMFYUI_PATH is {given!r}, expected the folder of a ComfyUI; `python dev.py test` provides one"
    )
    if os.environ.get("FEATURECACHE_REQUIRE_HOST"):
        pytest.fail(message)
    pytest.skip(message)

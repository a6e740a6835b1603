"""Shared set-up: the core under its own name, helpers in `support`, and the real host where there is one."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The root's `nodes/` would shadow ComfyUI's nodes.py, so the root must not be on the path; the core is loaded by
# its place instead, as a researcher who installed the wheel would have it.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
sys.path.insert(0, str(ROOT / "tests" / "support"))


sys.path.insert(0, str(ROOT / "benchmarks"))


def _load(name: str) -> None:
    """Import the folder `name` of the root as the package of that name."""
    folder = ROOT / name
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


for package in ("cache_core", "devtools"):
    if package not in sys.modules:
        _load(package)


import real  # noqa: E402 - found through the path set above

from devtools.server import Server  # noqa: E402 - devtools is loaded by its place just above


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests/matrix here: pytest asks only the top folder."""
    parser.addoption("--matrix", action="store_true", help="every cell of tests/matrix, not only its core")
    parser.addoption("--matrix-record", help="file to write the matrix's counts to")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of these folders with the folder's name."""
    for item in items:
        for mark in ("host", "server", "browser", "gpu"):
            if ROOT / "tests" / mark in item.path.resolve().parents:
                item.add_marker(mark)


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


@pytest.fixture(scope="session")
def tools_python() -> Path:
    """Return the interpreter that has comfy-cli; skip where there is none, unless the host is required."""
    given = os.environ.get("FEATURECACHE_TOOLS_PYTHON")
    if given:
        return Path(given)
    message = "FEATURECACHE_TOOLS_PYTHON is not set; `python dev.py test` provides comfy-cli"
    if os.environ.get("FEATURECACHE_REQUIRE_HOST"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def server(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running ComfyUI server with our pack, the zoo's pack and the zoo's checkpoints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    base = tmp_path_factory.mktemp("server")
    with Server(
        host=host_path, python=Path(sys.executable), base=base, env=environment, checkout=ROOT
    ) as running:
        yield running


@pytest.fixture(scope="session")
def host(host_path: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> real.Host:
    """Return the loaded host with our pack in it."""
    return real.load_host(host_path, root, tmp_path_factory.mktemp("base"))


@pytest.fixture
def flux(host: real.Host) -> Any:
    """Return a tiny Flux MODEL with random weights."""
    return real.random_flux()


@pytest.fixture
def cached(host: real.Host) -> Callable[..., Any]:
    """Return a function that does what the FeatureCache node does: `cached(model, method="fora", interval=2)`."""

    def attach(model: Any, start_percent: float = 0.0, end_percent: float = 1.0, **method: Any) -> Any:
        node = host.nodes["FeatureCache"]
        return node.execute(model, {"method": "fora"} | method, start_percent, end_percent)[0]

    return attach


@pytest.fixture
def report(host: real.Host) -> Callable[[Any], Any]:
    """Return a function that gives the last report of a cached MODEL."""
    return lambda model: host.module("nodes.host").find_binding(model).ledger.report

"""The real ComfyUI in this process, loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import real


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

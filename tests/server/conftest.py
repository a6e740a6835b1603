"""What the tests against a running server share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from client import Comfy, Prompt
from graphs import with_inputs
from zoo.mapping import to_zoo

from devtools.server import Server


@pytest.fixture(scope="session")
def comfy(server: Server) -> Comfy:
    """Return a client of the running server."""
    return Comfy(server.url)


@pytest.fixture(scope="session")
def workflow(root: Path) -> dict[str, Any]:
    """Return the shipped workflow with the zoo's models in it, as the browser would save it."""
    path = root / "workflows" / "flux_what_if_every_second_step_reuses.json"
    return to_zoo(json.loads(path.read_text(encoding="utf-8")))[0]


@pytest.fixture(scope="session")
def prompt(comfy: Comfy, workflow: dict[str, Any], tools_python: Path) -> Prompt:
    """Return the prompt of that workflow, at six steps."""
    return with_inputs(comfy.to_prompt(workflow, tools_python), "KSampler", steps=6)

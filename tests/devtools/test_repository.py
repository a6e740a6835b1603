from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest


def test_ruff_has_one_version_everywhere(checkout: Path) -> None:
    pinned = re.search(r"ruff==(\S+)", (checkout / "devtools/requirements/host.txt").read_text())
    hook = re.search(r"ruff-pre-commit\s+rev: v(\S+)", (checkout / ".pre-commit-config.yaml").read_text())
    assert pinned is not None and hook is not None
    assert pinned[1] == hook[1]


def test_the_changelog_knows_the_version(checkout: Path) -> None:
    version = re.search(r'^version = "(.+)"', (checkout / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    headings = re.findall(r"^## \[(.+?)\]", (checkout / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", version[1]]


def test_the_published_pack_leaves_development_out(checkout: Path) -> None:
    ignored = (checkout / ".comfyignore").read_text().split()
    assert {"tests/", "benchmarks/", "devtools/", "dev.py"} <= set(ignored)
    assert not {"nodes/", "cache_core/", "web/", "workflows/", "__init__.py"} & set(ignored)


def test_requirements_are_pinned(checkout: Path) -> None:
    for file in (checkout / "devtools/requirements").glob("*.txt"):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        assert lines
        assert all("==" in line for line in lines)


def test_the_extension_brings_no_requirements(checkout: Path) -> None:
    assert "\ndependencies = []\n" in (checkout / "pyproject.toml").read_text()
    assert not (checkout / "requirements.txt").exists()
    assert not (checkout / "install.py").exists()


@pytest.mark.server
@pytest.mark.slow
def test_the_registry_accepts_the_pack(checkout: Path, tmp_path: Path) -> None:
    tools = os.environ.get("FEATURECACHE_TOOLS_PYTHON")
    if not tools:
        pytest.skip("FEATURECACHE_TOOLS_PYTHON is not set; `python dev.py test` sets it")
    comfy = Path(tools).with_name("comfy")
    ran = subprocess.run(
        [str(comfy), "--skip-prompt", "node", "validate"],
        check=False,
        cwd=checkout,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DO_NOT_TRACK": "1", "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

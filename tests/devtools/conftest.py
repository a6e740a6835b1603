"""What the tests of `devtools` share; the package itself is loaded by tests/conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def checkout() -> Path:
    """Return the repository's root folder."""
    return ROOT


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test sees neither the user's ComfyUI nor the user's cache folder."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setenv("FEATURECACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    """Return a folder that looks like a ComfyUI."""
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "server.py", "nodes.py"):
        (folder / name).touch()
    (folder / "comfyui_version.py").write_text('__version__ = "0.30.0"\n')
    (folder / "requirements.txt").write_text("torch\ntorchsde\ntorchvision\ntorchaudio\nnumpy>=1.25.0\n")
    return folder

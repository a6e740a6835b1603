from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtools import comfy_folder, host
from devtools.errors import DevError


def test_an_existing_comfyui_is_found_by_its_variable(comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    assert host.named_by_user() == comfyui.resolve()
    assert comfy_folder.version(comfyui) == "0.30.0"


def test_without_the_variable_there_is_no_existing_one() -> None:
    assert host.named_by_user() is None


def test_a_missing_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(DevError, match="names no folder") as caught:
        host.named_by_user()
    assert "nothing there" in caught.value.got
    assert "unset it" in caught.value.fix


def test_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.py").touch()
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "main.py"))
    with pytest.raises(DevError, match="names no folder") as caught:
        host.named_by_user()
    assert "a file" in caught.value.got


def test_a_foreign_folder_is_refused_with_all_that_it_lacks(
    comfyui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (comfyui / "server.py").unlink()
    (comfyui / "nodes.py").unlink()
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    with pytest.raises(DevError, match="no ComfyUI") as caught:
        host.named_by_user()
    assert "without server.py, nodes.py" in caught.value.got


def test_a_version_that_contradicts_the_variable_is_refused(
    comfyui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    assert host.named_by_user("0.30.0") == comfyui.resolve()
    with pytest.raises(DevError, match="contradict"):
        host.named_by_user("0.16.3")


def test_an_environment_beside_it_counts_only_with_a_torch(comfyui: Path) -> None:
    package = comfyui.parent / "venv" / "lib" / "python3.11" / "site-packages" / "torch"
    package.mkdir(parents=True)
    assert comfy_folder.own_environment(comfyui) is None
    (package / "__init__.py").touch()
    assert comfy_folder.own_environment(comfyui) == comfyui.parent / "venv"


def test_a_portable_comfyui_has_its_own_python(comfyui: Path) -> None:
    assert comfy_folder.own_embedded_python(comfyui) is None
    python = comfyui.parent / "python_embeded" / "python.exe"
    python.parent.mkdir()
    python.touch()
    assert comfy_folder.own_embedded_python(comfyui) == python


@pytest.mark.parametrize("command", ["setup", "test", "demo", "info"])
def test_the_command_line_says_it_without_a_traceback(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    argv = [sys.executable, str(checkout / "dev.py"), command]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert "what to do:" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "home").exists(), "nothing is made before the mistake is found"

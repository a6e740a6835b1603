from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtools import environment, host_environment, packages
from devtools.environment import Environment, ensure
from devtools.errors import DevError
from devtools.paths import layout

INPUTS = {"requirements": "torch\n"}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(folder: Path, _python: Path) -> None:
        python = environment.interpreter(folder)
        python.parent.mkdir(parents=True)
        python.touch()

    monkeypatch.setattr(environment, "_make_bare", make)


class Builder:
    def __init__(self) -> None:
        self.num_builds = 0

    def __call__(self, made: Environment) -> None:
        self.num_builds += 1
        (made.folder / "package").touch()


def test_a_finished_environment_is_taken_as_it_is(tmp_path: Path) -> None:
    builder = Builder()
    assert ensure(tmp_path / "env", INPUTS, builder) == ensure(tmp_path / "env", INPUTS, builder)
    assert builder.num_builds == 1


def test_a_half_made_one_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "env"
    (half / "lib").mkdir(parents=True)
    (half / "lib" / "broken").touch()
    builder = Builder()
    ensure(half, INPUTS, builder)
    assert builder.num_builds == 1
    assert (half / "package").exists()
    assert not (half / "lib").exists()


def test_changed_inputs_make_it_anew(tmp_path: Path) -> None:
    builder = Builder()
    ensure(tmp_path / "env", INPUTS, builder)
    ensure(tmp_path / "env", {"requirements": "torch\nnumpy\n"}, builder)
    assert builder.num_builds == 2


def test_python_called_by_another_name_finds_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, builder = sys.executable, Builder()
    for name in (tmp_path / "python", tmp_path / "python3"):
        name.symlink_to(ours)
        monkeypatch.setattr(sys, "executable", str(name))
        ensure(tmp_path / "env", INPUTS, builder)
    assert builder.num_builds == 1


def test_one_that_lost_its_interpreter_is_made_anew(tmp_path: Path) -> None:
    builder = Builder()
    ensure(tmp_path / "env", INPUTS, builder).python.unlink()
    ensure(tmp_path / "env", INPUTS, builder)
    assert builder.num_builds == 2


@pytest.mark.parametrize("error", [OSError("network"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(_: Environment) -> None:
        raise error

    with pytest.raises(type(error)):
        ensure(tmp_path / "env", INPUTS, fail)
    assert not (tmp_path / "env").exists()


def test_a_python_without_venv_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named venv\nexit 1\n")
    python.chmod(0o700)
    with pytest.raises(DevError, match="virtual environment cannot be made") as caught:
        ensure(tmp_path / "env", INPUTS, Builder(), python=python)
    assert "No module named venv" in caught.value.got
    assert not (tmp_path / "env").exists()


def test_a_layer_over_a_users_environment_shows_it_and_adds_nothing_to_it(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(folder: Path, python: Path) -> None:
        subprocess.run([str(python), "-m", "venv", "--without-pip", str(folder)], check=True)

    monkeypatch.setattr(environment, "_make_bare", make)
    monkeypatch.setattr(packages, "install", lambda *_: None)
    theirs = Environment(folder=tmp_path / "theirs")
    make(theirs.folder, Path(sys.executable))
    package = host_environment._site_folder(theirs.python) / "their_torch.py"
    package.write_text("version = '2.9'\n")
    before = sorted(theirs.folder.rglob("*"))
    layer = host_environment.ensure_overlay("existing-1", theirs.folder, layout(tmp_path / "home", checkout))
    ask = "import their_torch; print(their_torch.version)"
    assert subprocess.check_output([str(layer.python), "-B", "-c", ask], text=True) == "2.9\n"
    assert sorted(theirs.folder.rglob("*")) == before


def test_a_portable_python_without_our_tools_is_refused_with_the_command_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python = Path(sys.executable)
    monkeypatch.setattr(host_environment, "_TOOL_MODULES", ("json",))
    assert host_environment.require_tools(python) == python
    monkeypatch.setattr(host_environment, "_TOOL_MODULES", ("json", "no_such_module"))
    with pytest.raises(DevError, match="lacks our development tools") as caught:
        host_environment.require_tools(python)
    assert "no_such_module" in caught.value.got
    assert "-m pip install -r" in caught.value.fix

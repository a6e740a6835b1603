from __future__ import annotations

import ast
from argparse import Namespace
from pathlib import Path

import pytest

from devtools import checks, cli, commands
from devtools.errors import DevError
from devtools.filesystem import link_folder
from devtools.paths import layout


def test_what_follows_two_dashes_is_passed_on() -> None:
    options = cli.parse(["test", "--quick", "--", "tests/core", "-k", "fora"])
    assert options.quick
    assert options.rest == ["tests/core", "-k", "fora"]


def test_the_zoo_gets_its_own_arguments() -> None:
    options = cli.parse(["zoo", "train", "flux", "--minutes", "5"])
    assert options.what == "train"
    assert options.rest == ["flux", "--minutes", "5"]


def test_a_benchmark_gets_its_own_arguments() -> None:
    options = cli.parse(["bench", "overhead", "--rounds", "3"])
    assert options.what == "overhead"
    assert options.rest == ["--rounds", "3"]


def test_the_training_of_a_router_gets_its_own_arguments_after_two_dashes() -> None:
    options = cli.parse(["train-router", "--processes", "2", "--", "--model", "zoo:flux"])
    assert options.processes == 2
    assert options.rest == ["--model", "zoo:flux"]


@pytest.mark.parametrize(
    "arguments", [["tset"], [], ["test", "--quik"], ["setup", "--host-version", "9.9.9"]]
)
def test_a_mistyped_command_line_ends_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_an_unknown_host_version_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["setup", "--host-version", "9.9.9"])
    assert "0.30.0" in capsys.readouterr().err


def test_ctrl_c_ends_with_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "setup", interrupt)
    assert cli.main(["setup"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_mistake_is_said_in_four_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Namespace) -> int:
        raise DevError("it went wrong", got="this\nand that", expected="another", fix="do it again")

    monkeypatch.setattr(commands, "setup", fail)
    assert cli.main(["setup"]) == 1
    assert capsys.readouterr().err == (
        "error: it went wrong\n"
        "  got:        this\n"
        "              and that\n"
        "  expected:   another\n"
        "  what to do: do it again\n"
    )


def test_another_programs_status_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "demo", lambda _: 7)
    assert cli.main(["demo"]) == 7


def test_old_pythons_can_read_the_entry_point(checkout: Path) -> None:
    ast.parse((checkout / "dev.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_the_view_has_a_valid_name_whatever_the_checkout_is_called(tmp_path: Path) -> None:
    checkout = tmp_path / "ComfyUI-FeatureCache 2"
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    place = layout(tmp_path / "home", checkout)
    view = checks.ensure_view(place)
    assert view.name.isidentifier()
    assert (view / "pyproject.toml").exists()
    assert checks.ensure_view(place) == view


def test_a_view_that_shows_something_else_is_renewed(tmp_path: Path) -> None:
    for name in ("checkout", "other"):
        (tmp_path / name).mkdir()
    place = layout(tmp_path / "home", tmp_path / "checkout")
    view = place.views / place.checkout_id / checks.VIEW_NAME
    link_folder(tmp_path / "other", view)
    assert checks.ensure_view(place).samefile(tmp_path / "checkout")


def test_paths_of_tests_are_taken_from_the_view(tmp_path: Path) -> None:
    assert checks._in_view("tests/core/test_store.py::test_x", tmp_path) == str(
        tmp_path / "tests/core/test_store.py::test_x"
    )
    assert checks._in_view("nodes", tmp_path) == "nodes"


def test_clean_removes_only_a_cache_folder_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "home"
    (theirs / "logs").mkdir(parents=True)
    assert cli.main(["clean"]) == 0
    assert (theirs / "logs").exists()
    place = layout(theirs)
    place.marker.touch()
    (place.hosts / "0.30.0").mkdir(parents=True)
    (place.hosts / "0.16.3").mkdir()
    assert cli.main(["clean", "--host-version", "0.16.3"]) == 0
    assert [path.name for path in place.hosts.iterdir()] == ["0.30.0"]
    assert cli.main(["clean"]) == 0
    assert not theirs.exists()

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from devtools.errors import DevError
from devtools.locking import locked
from devtools.paths import layout
from devtools.processes import child_environment, run_logged, tail


def run(tmp_path: Path, code: str, timeout: float | None = None) -> None:
    argv = [sys.executable, "-c", code]
    run_logged(
        argv, log=tmp_path / "log", what="it failed", fix="mend it", env=dict(os.environ), timeout=timeout
    )


def test_a_failing_child_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(DevError, match="it failed") as caught:
        run(tmp_path, "print('the reason'); raise SystemExit(4)")
    assert "exit status 4" in caught.value.got
    assert "the reason" in caught.value.got


def test_a_child_out_of_time_is_ended(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DevError, match="it failed") as caught:
        run(tmp_path, "import time; time.sleep(60)", timeout=0.3)
    assert "no end after" in caught.value.got
    assert time.monotonic() - start < 10


def test_the_tail_is_short_and_skips_pips_warnings(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("first\n\nCollecting torch\nWARNING: Location is ignored\n")
    assert tail(tmp_path / "log", lines=1) == "Collecting torch"
    assert tail(tmp_path / "none") == ""


def test_a_foreign_path_does_not_leak_into_children(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    place = layout(checkout=checkout)
    environment = child_environment(place, {"COMFYUI_PATH": "here"})
    assert "PYTHONPATH" not in environment
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert Path(environment["PYTHONPYCACHEPREFIX"]).is_relative_to(place.home)
    assert environment["COMFYUI_PATH"] == "here"


def test_two_set_ups_do_not_meet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = locked(tmp_path / "lock"), locked(tmp_path / "lock", timeout=0.0)
    with first, pytest.raises(DevError, match="another process"), second:
        pytest.fail("must not be entered")
    with locked(tmp_path / "lock", timeout=0.0):
        pass
    assert "waiting" not in capsys.readouterr().err

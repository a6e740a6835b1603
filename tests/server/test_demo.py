"""The demo, whole, against a running server."""

from __future__ import annotations

from pathlib import Path

import demo
import pytest
from PIL import Image

from devtools.server import Server


@pytest.mark.slow
def test_demo_prints_the_table_and_writes_the_picture(
    server: Server,
    tools_python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "SEEDS", (1,))
    arguments = ["--server", server.url, "--output", str(tmp_path), "--tools-python", str(tools_python)]
    assert demo.main(arguments) == 0
    printed = capsys.readouterr().out
    for words in (
        "zoo_flux.safetensors",
        "uncached, 20 steps",
        "Step List, 3x",
        "as long as FORA: ",
        "identical",
    ):
        assert words in printed
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width > 1000


def test_failure_is_an_exit_code_and_a_message(
    server: Server,
    tmp_path: Path,
    tools_python: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(
        '{"nodes": [{"id": 1, "type": "CLIPTextEncodeFlux", "inputs": [], "outputs": []}], "links": []}'
    )
    monkeypatch.setattr(demo, "WORKFLOW", broken)
    arguments = ["--server", server.url, "--output", str(tmp_path), "--tools-python", str(tools_python)]
    assert demo.main(arguments) == 1
    assert "The demo failed: Node 1 is a 'CLIPTextEncodeFlux'" in capsys.readouterr().err

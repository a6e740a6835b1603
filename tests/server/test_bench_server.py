"""The server benchmark, tiny: what it writes, and that each cache does there what it is said to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bench_server
import pytest
from client import ComfyError

from devtools.server import Server

FAMILIES = ("flux", "sd3", "pixart")


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the results of a run of few steps, one seed and one caption."""
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_server, "CAPTIONS", bench_server.CAPTIONS[:1])
        arguments = ["--server", server.url, "--log", str(server.log), "--results", str(results)]
        assert bench_server.main([*arguments, "--steps", "6", "--seeds", "1"]) == 0
    return results


@pytest.fixture(scope="module")
def families(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of each family by their names."""
    record = json.loads((folder / "server.json").read_text(encoding="utf-8"))
    return {family: {row["name"]: row for row in rows} for family, rows in record["families"].items()}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_refresh_ratios_are_those_of_the_schedules(families: dict[str, dict[str, Any]], family: str) -> None:
    """Counted back from the last of six calls, and the first is full: 0 1 3 5 of interval 2, 0 2 5 of 3."""
    rows = families[family]
    assert rows["FORA, interval 2"]["refresh"] == pytest.approx(4 / 6)
    assert rows["FORA, interval 3"]["refresh"] == pytest.approx(3 / 6)
    assert rows["Step List, 2x"]["refresh"] == pytest.approx(3 / 6)
    assert rows["FORA, interval 2"]["psnr"] is not None and rows["uncached, 6 steps"]["psnr"] is None


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd3", "pixart"])
def test_easycache_skips_nothing_where_its_wrapper_is_never_called(
    families: dict[str, dict[str, Any]], family: str
) -> None:
    row = families[family]["EasyCache"]
    assert row["refresh"] == 1.0 and row["psnr"] is None


@pytest.mark.slow
def test_the_page_has_a_table_for_each_family(folder: Path) -> None:
    text = (folder / "server.md").read_text(encoding="utf-8")
    assert [f"## {family}" in text for family in FAMILIES] == [True] * 3
    assert text.count("| FORA, interval 2 |") == 3 and text.count("| LazyCache |") == 3
    assert "python dev.py bench server" in text and "identical" in text


def test_skipped_calls_are_read_from_where_the_run_began(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("LazyCache - skipped 9/10 steps (x).\n")
    begin = log.stat().st_size
    with log.open("a") as file:
        file.write("EasyCache - skipped 1/10 steps (x).\nLazyCache - skipped 2/10 steps (x).\n")
    assert bench_server._share_computed(log, begin) == pytest.approx(0.85)
    with pytest.raises(ComfyError, match="does not say how many steps"):
        bench_server._share_computed(log, log.stat().st_size)

"""What the files of the matrix share, and the table of its cells that closes the run."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import real

FOLDER = Path(__file__).resolve().parent
OUTCOMES = ("passed", "failed", "skipped")

sys.path.insert(0, str(FOLDER))

GROUP = pytest.StashKey[tuple[str, str]]()
RESULTS = pytest.StashKey[dict[tuple[str, str], dict[str, Any]]]()


@pytest.fixture(scope="session")
def attach(host: real.Host) -> Callable[..., Any]:
    """Return `cached` for fixtures that outlive a test."""
    node = host.nodes["FeatureCache"]

    def cached(model: Any, start_percent: float = 0.0, end_percent: float = 1.0, **method: Any) -> Any:
        return node.execute(model, {"method": "fora"} | method, start_percent, end_percent)[0]

    return cached


@pytest.fixture(scope="session")
def last(host: real.Host) -> Callable[[Any], Any]:
    """Return a function that gives the last report of a cached MODEL, for fixtures that outlive a test."""
    return lambda model: host.module("nodes.host").find_binding(model).ledger.report


@pytest.fixture(scope="session", autouse=True)
def _nothing_shared_is_left() -> Iterator[None]:
    """Let go of what the cells share while the host is still there."""
    yield
    from cells import base, conditioning

    conditioning._controlnet.cache_clear()
    base.shared_model.cache_clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name the cell that a test belongs to."""
    config.stash.setdefault(RESULTS, {})
    for item in items:
        if FOLDER in item.path.resolve().parents and isinstance(item, pytest.Function):
            item.stash[GROUP] = _cell_of(item)
            item.add_marker("host")
            item.add_marker("slow")
            # A sampler of the host's asks its noise for a time that is off by one rounding.
            item.add_marker(pytest.mark.filterwarnings("ignore:Should have ta>=t0:UserWarning"))


def _cell_of(item: pytest.Function) -> tuple[str, str]:
    cell = item.callspec.params.get("cell") if hasattr(item, "callspec") else None
    if cell is not None:
        return cell.group, str(cell)
    return getattr(item.module, "GROUP", "the matrix itself"), item.name


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Collect the outcome of every test under its cell."""
    outcome: Any = yield
    report = outcome.get_result()
    if GROUP not in item.stash or (report.when != "call" and report.passed):
        return
    found = item.config.stash[RESULTS].setdefault(
        item.stash[GROUP], {"outcomes": Counter(), "notes": [], "measured": []}
    )
    found["outcomes"][report.outcome] += 1
    found["measured"] += [value for name, value in report.user_properties if name == "psnr"]
    if report.skipped and isinstance(report.longrepr, tuple):
        found["notes"].append(report.longrepr[2].removeprefix("Skipped: "))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the count of cells per group."""
    results = config.stash.get(RESULTS, {})
    if not results:
        return
    rows = _rows(results)
    terminalreporter.section("compatibility matrix")
    terminalreporter.line(f"{'cells':>6} {'passed':>7} {'failed':>7} {'skipped':>8}  group")
    for group, counts in [*rows.items(), ("all", sum(rows.values(), Counter()))]:
        numbers = (sum(counts.values()), *(counts[outcome] for outcome in OUTCOMES))
        terminalreporter.line("{:>6} {:>7} {:>7} {:>8}  {}".format(*numbers, group))
    for reason, number in _reasons(results).items():
        terminalreporter.line(f"skipped {number}: {reason}")
    target = config.getoption("--matrix-record")
    if target:
        _write(Path(target), results)


def _rows(results: dict[tuple[str, str], Any]) -> dict[str, Counter[str]]:
    """Return how many cells of each group passed, failed or could not be made on this host."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for (group, _), found in results.items():
        rows[group][_verdict(found["outcomes"])] += 1
    return dict(rows)


def _verdict(outcomes: Counter[str]) -> str:
    """Return the outcome of a cell: a guarantee that does not apply to it is no reason to call it skipped."""
    if outcomes["failed"]:
        return "failed"
    return "passed" if outcomes["passed"] else "skipped"


def _reasons(results: dict[tuple[str, str], Any]) -> Counter[str]:
    return Counter(
        found["notes"][0] for found in results.values() if _verdict(found["outcomes"]) == "skipped"
    )


def _write(target: Path, results: dict[tuple[str, str], Any]) -> None:
    """Write what became of every cell, for docs/compatibility.md; cells of an earlier part of the run are kept."""
    import comfyui_version

    host = comfyui_version.__version__
    record: dict[str, Any] = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    if record.get("host") != host:
        record = {"host": host, "command": "python dev.py test --matrix", "cells": {}, "psnr": {}}
    for (group, name), found in results.items():
        verdict = _verdict(found["outcomes"])
        outcome = f"skipped: {found['notes'][0]}" if verdict == "skipped" else verdict
        record["cells"].setdefault(group, {})[name] = outcome
        for model, sampler, decibels in found["measured"]:
            record["psnr"].setdefault(model, {})[sampler] = decibels
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")

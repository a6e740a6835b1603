"""What the documentation says is run or checked."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import pytest

from cache_core import ADAPTERS, POLICIES

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/artefacts.md",
    "docs/how_it_works.md",
    "docs/compatibility.md",
    "docs/schedule_search.md",
    "docs/training.md",
    "docs/decisions.md",
    "workflows/README.md",
]


def test_python_examples_of_the_readme_run(root: Path) -> None:
    found = doctest.DocTestParser().get_doctest(
        "\n".join(
            re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
        ),
        {},
        "README.md",
        "README.md",
        0,
    )
    assert found.examples
    assert doctest.DocTestRunner(verbose=False).run(found).failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_links_and_file_names_exist(root: Path, page: str) -> None:
    text = (root / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    named = re.findall(r"`((?:cache_core|nodes|workflows|benchmarks|tests|docs|web)/[\w./-]+)`", text)
    missing = [t for t in targets if not ((root / page).parent / t).exists()] + [
        n for n in named if not (root / n).exists()
    ]
    assert missing == []


def test_readme_names_every_method_and_family(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    own = [policy for policy in POLICIES.values() if policy.__module__.startswith("cache_core.")]
    assert all(f"`{policy.name}`" in readme and policy.source.split(",")[0] in readme for policy in own)
    families = [adapter for adapter in ADAPTERS.values() if adapter.__module__.startswith("cache_core.")]
    assert all(adapter.name in readme.lower() for adapter in families)


def test_every_workflow_is_in_the_list(root: Path) -> None:
    listed = (root / "workflows" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in listed for path in (root / "workflows").glob("*.json"))


def test_commands_of_the_readme_exist(root: Path) -> None:
    from devtools import cli

    offered = cli.parser().format_help()
    commands = set(re.findall(r"python dev\.py (\w+)", (root / "README.md").read_text(encoding="utf-8")))
    assert {"demo", "test"} <= commands
    assert all(command in offered for command in commands)


def test_pages_made_from_measurements_are_current(root: Path) -> None:
    """`python dev.py docs` writes them again."""
    import write_docs

    record = json.loads(write_docs.RECORD.read_text(encoding="utf-8"))
    stale = [
        path.name
        for path, text in write_docs.pages(record).items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert stale == []

"""Writes the workflows of the pack and their ready copies, with the zoo's nodes in them: `python dev.py zoo workflows`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gallery.page import replaced, table
from gallery.questions import asked, workflows

from .mapping import to_zoo

FOLDER = Path(__file__).with_name("workflows")
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "workflows"


def main() -> None:
    """Write every workflow, its copy beside this file and the list of them; remove those that are no more."""
    FOLDER.mkdir(exist_ok=True)
    written = workflows()
    for name, workflow in written.items():
        mapped, changes = to_zoo(workflow)
        _write(SHIPPED / name, workflow)
        _write(FOLDER / name, mapped)
        print(name, *changes, sep="\n  ")
    for folder in (SHIPPED, FOLDER):
        for path in folder.glob("*.json"):
            if path.name not in written:
                path.unlink()

    _list(SHIPPED / "README.md")


def _list(page: Path) -> None:
    shipped = [path.name for path in (ROOT / "cache_core" / "artefacts").glob("*.safetensors")]
    text = replaced(page.read_text(encoding="utf-8"), table(asked(), shipped))
    page.write_text(text, encoding="utf-8", newline="\n")


def _write(path: Path, workflow: dict[str, Any]) -> None:
    path.write_text(json.dumps(workflow, indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes the ready copies of the workflows, with the zoo's nodes in them: `python dev.py zoo workflows`."""

from __future__ import annotations

import json
from pathlib import Path

from .mapping import to_zoo

FOLDER = Path(__file__).with_name("workflows")
SOURCE = Path(__file__).resolve().parents[2] / "workflows"


def main() -> None:
    """Map every workflow of the pack and write it beside this file."""
    FOLDER.mkdir(exist_ok=True)
    for path in sorted(SOURCE.glob("*.json")):
        mapped, changes = to_zoo(json.loads(path.read_text(encoding="utf-8")))
        (FOLDER / path.name).write_text(json.dumps(mapped, indent=2) + "\n", encoding="utf-8", newline="\n")
        print(path.name, *changes, sep="\n  ")


if __name__ == "__main__":
    main()

"""The list of workflows in their README."""

from __future__ import annotations

from collections.abc import Collection

from .nodes import CACHES, MAKERS, TRAINER
from .questions import Asked

BEGIN, END = "<!-- workflows -->", "<!-- /workflows -->"


def table(workflows: dict[str, Asked], shipped: Collection[str]) -> str:
    """Return the table, in Markdown.

    Args:
        workflows: By file name.
        shipped: Names of the artefact files that come with the pack.
    """
    rows = ["| file | question | method | needs, beside the model |", "|---|---|---|---|"]
    for name, one in workflows.items():
        rows.append(f"| `{name}` | {one.text} | {one.question.method} | {_needs(one, shipped)} |")
    return "\n".join(rows)


def replaced(page: str, content: str) -> str:
    """Return a page with `content` between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{content}\n{END}{rest.split(END)[1]}"


def _needs(one: Asked, shipped: Collection[str]) -> str:
    nodes = one.workflow()["nodes"]
    if any(node["type"] == TRAINER for node in nodes):
        return "a router, which it trains itself, first, once"
    if any(node["type"] in MAKERS for node in nodes):
        return "a file that it makes itself, first, once"
    named = {value for node in nodes if node["type"] in CACHES for value in node["widgets_values"]}
    files = {value for value in named if str(value).endswith(".safetensors")}
    if not files:
        return "nothing"
    return "a file that ships" if files <= set(shipped) else "a file"

"""Builds a workflow as the browser saves it, node by node, in columns from top to bottom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .nodes import TYPES, WITHOUT_INPUT, widget_type

TITLE = 30
"""Height of a node's title bar, which lies above its place."""
GAP = 34
MUTED = 2
"""The browser's mode of a node that is left out of what is run."""

Widget = str | int | float


@dataclass(frozen=True)
class Output:
    """One output of a node, to link from."""

    node: int
    slot: int
    kind: str


@dataclass(frozen=True)
class Node:
    """A node that was added."""

    content: dict[str, Any]

    def __getitem__(self, slot: int) -> Output:
        """Return an output."""
        return Output(self.content["id"], slot, self.content["outputs"][slot]["type"])

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, with the title."""
        (x, y), (width, height) = self.content["pos"], self.content["size"]
        return x, y - TITLE, x + width, y + height


@dataclass
class Graph:
    """A workflow that grows."""

    nodes: list[Node] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    _x: int = 0
    _y: int = 0
    _width: int = 0

    def column(self, x: int, width: int, y: int = 0) -> None:
        """Place what is added from here on at `x`, one below the other from `y` on."""
        self._x, self._width, self._y = x, width, y

    def add(
        self,
        kind: str,
        widgets: Mapping[str, Widget] | None = None,
        *,
        title: str | None = None,
        height: int | None = None,
        muted: bool = False,
        **links: Output,
    ) -> Node:
        """Add a node at the end of the column.

        Args:
            kind: One of `TYPES`.
            widgets: Values by name, in the order that the browser shows them.
            title: A name of its own.
            height: Other than the type's.
            muted: Whether it is left out of what is run.
            links: What is linked to an input, by the input's name.
        """
        known, node_id = TYPES[kind], len(self.nodes) + 1
        given = dict(widgets or {})
        content: dict[str, Any] = {
            "id": node_id,
            "type": kind,
            "pos": [self._x, self._y],
            "size": [self._width, height or known.height],
            "flags": {},
            "order": node_id - 1,
            "mode": MUTED if muted else 0,
            "inputs": [_socket(*socket) for socket in known.sockets] + _widget_inputs(kind, given),
            "outputs": [{"name": name, "type": kind, "links": []} for name, kind in known.outputs],
            "properties": {} if kind == "MarkdownNote" else {"Node name for S&R": kind},
            "widgets_values": list(given.values()),
        }
        self.nodes.append(Node(content | ({"title": title} if title else {})))
        for name, source in links.items():
            self._link(source, self.nodes[-1].content, name)
        self._y += content["size"][1] + TITLE + GAP
        return self.nodes[-1]

    def group(self, title: str, members: Iterable[Node]) -> None:
        """Draw a frame around nodes."""
        boxes = [node.box for node in members]
        left, top = min(box[0] for box in boxes) - 20, min(box[1] for box in boxes) - 60
        right, bottom = max(box[2] for box in boxes) + 20, max(box[3] for box in boxes) + 20
        frame = {
            "id": len(self.groups) + 1,
            "title": title,
            "bounding": [left, top, right - left, bottom - top],
            "color": "#3f789e",
            "font_size": 24,
            "flags": {},
        }
        self.groups.append(frame)

    def below(self, left: int, right: int) -> int:
        """Return a place for a new row below all nodes that begin between `left` and `right`."""
        return int(max(node.box[3] for node in self.nodes if left <= node.box[0] < right)) + 150

    def as_workflow(self) -> dict[str, Any]:
        """Return what the browser would save."""
        return {
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": [node.content for node in self.nodes],
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [540, 200]}},
            "version": 0.4,
        }

    def _link(self, source: Output, target: dict[str, Any], name: str) -> None:
        number = len(self.links) + 1
        slot = next(i for i, entry in enumerate(target["inputs"]) if entry["name"] == name)
        target["inputs"][slot]["link"] = number
        self.nodes[source.node - 1].content["outputs"][source.slot]["links"].append(number)
        self.links.append([number, source.node, source.slot, target["id"], slot, source.kind])


def _socket(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": None}


def _widget_inputs(kind: str, widgets: Mapping[str, Widget]) -> list[dict[str, Any]]:
    if kind == "MarkdownNote":
        return []
    return [
        {"name": name, "type": widget_type(name, value), "widget": {"name": name}, "link": None}
        for name, value in widgets.items()
        if name not in WITHOUT_INPUT
    ]

"""Maps a workflow that a person would open onto the zoo's models, and says what it changed.

Only what belongs to the checkpoint is replaced: the loaders of network, text encoder and autoencoder, the text
encoding, and what the tiny network was trained for: its picture size, and true guidance in place of the
distilled guidance that it does not have.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Workflow = dict[str, Any]
"""A workflow as the browser saves it: {"nodes": [...], "links": [...], ...}."""

NETWORK = "zoo_flux.safetensors"
AUTOENCODER = "zoo_vae_16ch.safetensors"
SIZE = 192
GUIDANCE = 4.0

_KSAMPLER_CFG = 3
"""Place of `cfg` among a KSampler's widgets: seed, what to do with it, steps, cfg, ..."""


class MappingError(ValueError):
    """The workflow uses a node for which the zoo has nothing."""


def to_zoo(workflow: Workflow) -> tuple[Workflow, list[str]]:
    """Return the workflow with the zoo's models, and one line for each change.

    Raises:
        MappingError: If it loads or encodes with a node that has no counterpart here.
    """
    mapped = copy.deepcopy(workflow)
    changes = [line for node in list(mapped["nodes"]) for line in _map_node(mapped, node)]
    return mapped, changes


def _map_node(workflow: Workflow, node: Workflow) -> list[str]:
    kind = node["type"]
    if kind in _RULES:
        return [f"{kind} (node {node['id']}): {_RULES[kind](workflow, node)}"]
    if "Loader" in kind or "TextEncode" in kind:
        raise MappingError(
            f"Node {node['id']} is a '{kind}', for which the zoo has no counterpart; it has those of {sorted(_RULES)}."
        )
    return []


def _widget(place: int, value: Any) -> Callable[[Workflow, Workflow], str]:
    def rule(workflow: Workflow, node: Workflow) -> str:
        before, node["widgets_values"][place] = node["widgets_values"][place], value
        return f"{before} -> {value}"

    return rule


def _caption(workflow: Workflow, node: Workflow) -> str:
    _unlink(workflow, [entry["link"] for entry in node["inputs"]])
    node["type"] = "ZooCaption"
    node["properties"] = {"Node name for S&R": "ZooCaption"}
    widget = {"name": "caption", "type": "STRING", "widget": {"name": "caption"}, "link": None}
    node["inputs"] = [widget]
    return "ZooCaption, same text"


def _remove(workflow: Workflow, node: Workflow) -> str:
    _unlink(workflow, [link for output in node["outputs"] for link in output["links"] or []])
    workflow["nodes"].remove(node)
    return "removed, captions need no text encoder"


def _size(workflow: Workflow, node: Workflow) -> str:
    width, height = node["widgets_values"][:2]
    node["widgets_values"][:2] = [SIZE, SIZE]
    return f"{width} x {height} -> {SIZE} x {SIZE}, what the tiny network was trained for"


def _unlink(workflow: Workflow, links: list[int | None]) -> None:
    workflow["links"] = [link for link in workflow["links"] if link[0] not in links]
    for node in workflow["nodes"]:
        for entry in node["inputs"]:
            if entry.get("link") in links:
                entry["link"] = None
        for output in node["outputs"]:
            output["links"] = [link for link in output["links"] or [] if link not in links]


_RULES: dict[str, Callable[[Workflow, Workflow], str]] = {
    "UNETLoader": _widget(0, NETWORK),
    "VAELoader": _widget(0, AUTOENCODER),
    "DualCLIPLoader": _remove,
    "CLIPTextEncode": _caption,
    "EmptySD3LatentImage": _size,
    "KSampler": _widget(_KSAMPLER_CFG, GUIDANCE),
}

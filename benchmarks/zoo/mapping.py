"""Maps a workflow that a person would open onto the zoo's models, and says what it changed.

Only what belongs to the checkpoint is replaced: the loaders of network, text encoder and autoencoder, the text
encoding, the names of files made for the network, and what the tiny network and its routers were trained for: the picture
size, true guidance in place of the distilled guidance that it does not have, and the scheduler.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Workflow = dict[str, Any]
"""A workflow as the browser saves it: {"nodes": [...], "links": [...], ...}."""

GUIDANCE, SCHEDULER = 4.0, "simple"
"""What the zoo is measured with, and its routers are trained for."""


@dataclass(frozen=True, kw_only=True)
class Counterpart:
    """What the zoo has for a published model.

    Attributes:
        loads: Begins the names of the published model's own file.
        made: Begins the names of the files that were made for it.
        title: What the workflows call it.
        name: The zoo's network, without suffix.
        loader: Node type that loads it.
        autoencoder: File of the autoencoder.
        size: Width and height in pixels.
    """

    loads: str
    made: str
    title: str
    name: str
    loader: str
    autoencoder: str
    size: int

    @property
    def network(self) -> str:
        """File of the network."""
        return f"{self.name}.safetensors"


COUNTERPARTS = (
    Counterpart(
        loads="flux1-dev",
        made="flux1_dev",
        title="FLUX.1-dev",
        name="zoo_flux",
        loader="UNETLoader",
        autoencoder="zoo_vae_16ch.safetensors",
        size=192,
    ),
    Counterpart(
        loads="sd3.5_large",
        made="sd35_large",
        title="SD3.5-large",
        name="zoo_sd3",
        loader="ZooDiffusionLoader",
        autoencoder="zoo_vae_16ch_sd3.safetensors",
        size=192,
    ),
    Counterpart(
        loads="PixArt-Sigma",
        made="pixart_sigma",
        title="PixArt-Sigma",
        name="zoo_pixart",
        loader="ZooDiffusionLoader",
        autoencoder="zoo_vae_4ch.safetensors",
        size=272,
    ),
)

_SHIPPED = "flux_dev_"
"""Begins the names of the files for FLUX.1-dev that come with the pack."""

_NETWORK_LOADERS = ("UNETLoader", "CheckpointLoaderSimple")


class MappingError(ValueError):
    """The workflow uses a node or a model for which the zoo has nothing."""


def to_zoo(workflow: Workflow) -> tuple[Workflow, list[str]]:
    """Return the workflow with the zoo's models, and one line for each change.

    Raises:
        MappingError: If it loads or encodes with a node that has no counterpart here, or loads another model.
    """
    mapped = copy.deepcopy(workflow)
    nodes = list(mapped["nodes"])
    zoo = _counterpart(nodes)
    return mapped, [line for node in nodes for line in _map_node(mapped, node, zoo)]


def _counterpart(nodes: list[Workflow]) -> Counterpart:
    """Return what stands for the model that the workflow loads; Flux's where it loads none."""
    loaded = [node["widgets_values"][0] for node in nodes if node["type"] in _NETWORK_LOADERS]
    found = {zoo for name in loaded for zoo in COUNTERPARTS if name.startswith(zoo.loads)}
    if len(found) > 1 or (loaded and not found):
        raise MappingError(
            f"The workflow loads {loaded}; expected one model whose name begins with one of "
            f"{[zoo.loads for zoo in COUNTERPARTS]}."
        )
    return found.pop() if found else COUNTERPARTS[0]


def _map_node(workflow: Workflow, node: Workflow, zoo: Counterpart) -> list[str]:
    kind = node["type"]
    if kind in _RULES:
        said = _RULES[kind](workflow, node, zoo)
        return [f"{kind} (node {node['id']}): {said}"] if said else []
    if "Loader" in kind or "TextEncode" in kind:
        raise MappingError(
            f"Node {node['id']} is a '{kind}', for which the zoo has no counterpart; it has those of {sorted(_RULES)}."
        )
    return []


def _network(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    before = node["widgets_values"][0]
    if zoo.loader == node["type"]:
        node["widgets_values"][0] = zoo.network
        return f"{before} -> {zoo.network}"
    _retype(node, zoo.loader, {"model_name": zoo.network}, "COMBO")
    return f"{before} -> {zoo.network}, loaded by {zoo.loader}"


def _checkpoint(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    """Put two loaders in the place of one; what encodes text goes without."""
    decoding = node["outputs"][2]["links"]
    _unlink(workflow, node["outputs"][1]["links"])
    node["outputs"][1:] = []
    vae = _autoencoder_loader(workflow, node, decoding, zoo)
    said = _network(workflow, node, zoo)
    return f"{said}; its autoencoder -> {zoo.autoencoder} (node {vae})"


def _autoencoder_loader(workflow: Workflow, beside: Workflow, links: list[int], zoo: Counterpart) -> int:
    """Add a VAELoader below a node, move links to it, and return its id."""
    number = workflow["last_node_id"] = workflow["last_node_id"] + 1
    (x, y), (width, height) = beside["pos"], beside["size"]
    entry = {"pos": [x, y + height + 64], "size": [width, 58], "flags": {}, "mode": 0}
    node: Workflow = {"id": number, "order": number - 1, "outputs": [_output("VAE", links)], **entry}
    _retype(node, "VAELoader", {"vae_name": zoo.autoencoder}, "COMBO")
    workflow["nodes"].append(node)
    for link in workflow["links"]:
        if link[0] in links:
            link[1:3] = [number, 0]
    return number


def _output(kind: str, links: list[int]) -> Workflow:
    return {"name": kind, "type": kind, "links": links}


def _autoencoder(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    before, node["widgets_values"][0] = node["widgets_values"][0], zoo.autoencoder
    return f"{before} -> {zoo.autoencoder}"


def _caption(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    _unlink(workflow, [entry["link"] for entry in node["inputs"]])
    _retype(node, "ZooCaption", {"caption": node["widgets_values"][0]}, "STRING")
    return "ZooCaption, same text"


def _retype(node: Workflow, kind: str, widgets: dict[str, str], widget_type: str) -> None:
    node["type"], node["properties"] = kind, {"Node name for S&R": kind}
    node["widgets_values"] = list(widgets.values())
    node["inputs"] = [
        {"name": name, "type": widget_type, "widget": {"name": name}, "link": None} for name in widgets
    ]


def _remove(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    _unlink(workflow, [link for output in node["outputs"] for link in output["links"] or []])
    workflow["nodes"].remove(node)
    return "removed, captions need no text encoder"


def _size(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    width, height = node["widgets_values"][:2]
    node["widgets_values"][:2] = [zoo.size, zoo.size]
    return f"{width} x {height} -> {zoo.size} x {zoo.size}, what the tiny network was trained for"


def _sampling(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    said = []
    for name, value in (("cfg", GUIDANCE), ("scheduler", SCHEDULER)):
        place = _place(node, name)
        before, node["widgets_values"][place] = node["widgets_values"][place], value
        said += [] if before == value else [f"{name} {before} -> {value}"]
    return "; ".join(said)


def _calibration(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    return "; ".join(filter(None, (_sampling(workflow, node, zoo), _files(workflow, node, zoo))))


def _files(workflow: Workflow, node: Workflow, zoo: Counterpart) -> str:
    """Name the zoo's file where one is named that was made for the published model; `made_for` follows."""
    before = list(node["widgets_values"])
    node["widgets_values"] = [_renamed(value, zoo) for value in before]
    pairs = zip(before, node["widgets_values"], strict=True)
    return "; ".join(f"{old} -> {new}" for old, new in pairs if old != new and " " not in old)


def _renamed(value: Any, zoo: Counterpart) -> Any:
    if not isinstance(value, str):
        return value
    for begin in (zoo.made, _SHIPPED.rstrip("_")):
        if value.startswith(f"{begin}_"):
            return zoo.name + value.removeprefix(begin)
    return _made_for(value, zoo) if value.startswith(f"{zoo.title}, ") else value


def _made_for(value: str, zoo: Counterpart) -> str:
    """Return for what a file was made, as it is on the zoo; what may be told after it stays."""
    _, steps, sampler, _, _, size = value.split(", ", 5)
    size = re.sub(r"^\d+ x \d+", f"{zoo.size} x {zoo.size}", size)
    return ", ".join((zoo.name, steps, sampler, SCHEDULER, f"cfg {GUIDANCE:g}", size))


def _place(node: Workflow, name: str) -> int:
    """Return which of a node's widgets belongs to an input; after its seed comes one of the browser's own."""
    names = [entry["widget"]["name"] for entry in node["inputs"] if "widget" in entry]
    place = names.index(name)
    return place + ("seed" in names[:place])


def _unlink(workflow: Workflow, links: list[int | None]) -> None:
    workflow["links"] = [link for link in workflow["links"] if link[0] not in links]
    for node in workflow["nodes"]:
        for entry in node["inputs"]:
            if entry.get("link") in links:
                entry["link"] = None
        for output in node["outputs"]:
            output["links"] = [link for link in output["links"] or [] if link not in links]


_RULES: dict[str, Callable[[Workflow, Workflow, Counterpart], str]] = {
    "UNETLoader": _network,
    "CheckpointLoaderSimple": _checkpoint,
    "VAELoader": _autoencoder,
    "CLIPLoader": _remove,
    "DualCLIPLoader": _remove,
    "CLIPTextEncode": _caption,
    "EmptySD3LatentImage": _size,
    "EmptyLatentImage": _size,
    "KSampler": _sampling,
    "FeatureCacheCalibrate": _calibration,
    "CacheScheduleSearch": _calibration,
    "CacheRouterTrainer": _calibration,
    "FeatureCache": _files,
    "TeaCacheThreshold": _files,
    "L2CRouterLoader": _files,
    "ErrorOptimizer": _files,
}

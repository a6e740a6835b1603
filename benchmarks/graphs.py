"""Small edits of prompts: leave a node out, set an input, find a node by its type."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from client import ComfyError, Prompt


def node_of(prompt: Prompt, class_type: str) -> str:
    """Return the id of the only node of a type.

    Raises:
        ComfyError: If there is none, or more than one.
    """
    found = [node for node, body in prompt.items() if body["class_type"] == class_type]
    if len(found) != 1:
        raise ComfyError(f"The workflow has {len(found)} nodes of type '{class_type}', expected exactly one.")
    return found[0]


def with_inputs(prompt: Prompt, class_type: str, **values: Any) -> Prompt:
    """Return a copy in which inputs of the only node of a type are set; dots in names are written as `__`."""
    changed = copy.deepcopy(prompt)
    inputs = changed[node_of(changed, class_type)]["inputs"]
    inputs.update({name.replace("__", "."): value for name, value in values.items()})
    return changed


def with_cache(prompt: Prompt, widgets: Mapping[str, Any]) -> Prompt:
    """Return a copy whose only Feature Cache has other widgets, all of them; its wires stay."""
    changed = copy.deepcopy(prompt)
    body = changed[node_of(changed, "FeatureCache")]
    body["inputs"] = {"model": body["inputs"]["model"], **widgets}
    return changed


def without_cache(prompt: Prompt) -> Prompt:
    """Return a copy without the cache node and its report, as if both were deleted and the model wired past them."""
    changed = copy.deepcopy(prompt)
    del changed[node_of(changed, "FeatureCacheReport")]
    removed = node_of(changed, "FeatureCache")
    source = changed.pop(removed)["inputs"]["model"]
    for body in changed.values():
        for name, value in body["inputs"].items():
            if value == [removed, 0]:
                body["inputs"][name] = source
    return changed

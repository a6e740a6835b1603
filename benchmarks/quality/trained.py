"""The trained files that ship with the zoo, and what is made of them to compare them with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo import routers
from zoo.write_artefacts import FOLDER

REVERSED, UNADJUSTED, RANDOM = "reversed", "unadjusted", "random"


def path_of(name: str) -> Path:
    """Where a trained file is."""
    return FOLDER / f"{name}.safetensors"


def is_trained(name: str) -> bool:
    """Whether there is a file of that name."""
    return bool(name) and path_of(name).is_file()


def missing(core: Any, names: Iterable[str]) -> list[str]:
    """Return the files that are not there, or that a hand made until they are trained."""
    return [
        name
        for name in names
        if not is_trained(name) or core.read_artefact(path_of(name)).made.get("source") == routers.BY_HAND
    ]


def read(core: Any, name: str, variant: str = "") -> Any:
    """Read a trained file and make of it what a cell asks for.

    Args:
        core: `cache_core`.
        name: Of the file, without suffix.
        variant: "" for the file itself; `REVERSED`, its steps in reverse; `UNADJUSTED`, without its scale and shift;
            "random N", a router that reuses as much at random places, of seed N.
    """
    found = core.read_artefact(path_of(name))
    if variant == REVERSED:
        return routers.reversed_router(found)
    if variant == UNADJUSTED:
        own = {
            key: tensor for key, tensor in found.tensors.items() if not key.startswith(("scale.", "shift."))
        }
        return replace(found, tensors=own, name=f"{found.name} {UNADJUSTED}")
    if variant:
        return routers.random_router(found, int(variant.removeprefix(RANDOM)))
    return found


def settings_of(artefact: Any) -> dict[str, float]:
    """The settings that a file says it was trained for: a router's threshold, and the delta of a scale and shift."""
    if artefact.threshold is not None:
        return {"threshold": artefact.threshold}
    delta = artefact.made.get("trained_delta")
    return {} if delta is None else {"delta": float(delta)}

"""The tensors an artefact may hold, and what each must look like: T steps, S sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FLOATS = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a tensor must look like: bool or floating, and whether it begins with steps, then with sites."""

    is_bool: bool = False
    has_steps: bool = False
    has_sites: bool = False


LAYOUTS: Mapping[str, Layout] = {
    "compute": Layout(is_bool=True, has_steps=True, has_sites=True),
    "score": Layout(has_steps=True, has_sites=True),
    "profile": Layout(has_steps=True, has_sites=True),
    "ratios": Layout(has_steps=True),
    "coefficients": Layout(),
    "scale": Layout(has_steps=True),
    "shift": Layout(has_steps=True),
    "prior": Layout(has_steps=True),
}
"""The tensors there may be. What follows a dot in a tensor's name, such as a site's, is the kind's own affair."""


def layout_faults(
    name: str, shape: tuple[int, ...], dtype: str, num_steps: int | None, num_sites: int
) -> list[str]:
    """Return why a tensor cannot be part of an artefact of T steps and S sites, each as half a sentence."""
    layout = LAYOUTS.get(name.split(".")[0])
    if layout is None:
        return [f"tensor '{name}' is unknown, expected one of {', '.join(LAYOUTS)}"]
    expected = ((num_steps,) if layout.has_steps else ()) + ((num_sites,) if layout.has_sites else ())
    found = []
    if None in expected:
        found.append(f"tensor '{name}' needs 'num_steps'")
    elif shape[: len(expected)] != expected or (layout.has_sites and len(shape) != 2):
        found.append(f"tensor '{name}' has shape {shape}, expected {expected} (steps, sites)")
    allowed = ("bool",) if layout.is_bool else FLOATS
    if dtype not in allowed:
        found.append(f"tensor '{name}' is {dtype}, expected {' or '.join(allowed)}")
    return found

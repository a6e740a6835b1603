"""One policy of every method, for any network: what the contract suite runs. Artefacts are made up to fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

MADE_UP = ("mask", "router", "coefficients", "profile")
"""Kinds of artefact that decide what is computed; others correct what is reused and may be absent."""


def levels(method: Any) -> tuple[str, ...]:
    """Return the levels a method can be set to, or the one it has."""
    for item, details in method.config_type.settings():
        if item.name == "level":
            return tuple(details.choices)
    return (method(method.config_type()).level.value,)


def make(
    module: Callable[[str], Any], name: str, level: str, adapter: Any, steps: int, **settings: Any
) -> Any:
    """Return a policy of the method `name`.

    Args:
        module: Returns a module of the code under test, such as `cache_core.artefact`.
        name: Name of the method.
        level: One of its `levels`.
        adapter: The adapter of the network it will run on.
        steps: Number of steps it will run.
        settings: What differs from the method's defaults.
    """
    method = module("cache_core").POLICIES[name]
    given = {}
    for item, details in method.config_type.settings():
        if item.name == "level":
            given["level"] = level
        if details.kinds and details.kinds[0].value in MADE_UP:
            given[item.name] = artefact(module, details.kinds[0].value, name, level, adapter, steps)
    return method(method.config_type(**(given | settings)))


def corrected(module: Callable[[str], Any], inner: Any, name: str, adapter: Any, steps: int) -> Any:
    """Return the policy `inner` with the correction `name` on top."""
    correction = module("cache_core").CORRECTIONS[name]
    given = {
        item.name: artefact(module, details.kinds[0].value, name, inner.level.value, adapter, steps)
        for item, details in correction.config_type.settings()
        if details.kinds
    }
    return correction(inner, correction.config_type(**given))


def artefact(
    module: Callable[[str], Any], kind: str, method: str, level: str, adapter: Any, steps: int
) -> Any:
    """Return an artefact that computes the first step and every second one after it."""
    names, core = module("cache_core.artefact"), module("cache_core")
    fit = module("cache_core.fingerprint").fingerprint(adapter, core.Level(level))
    compute = (torch.arange(steps) % 2 == 0)[:, None].expand(steps, len(fit.sites)).clone()
    tensors = {
        "mask": {"compute": compute},
        "router": {"score": torch.where(compute, 5.0, -5.0)},
        "coefficients": {"coefficients": torch.tensor([1.0, 0.0])},
        # Much change before every second step, hardly any before the others.
        "profile": {"profile": torch.where(compute, 9.0, 0.001)},
        # The same small difference in every step, wherever and with whichever prompt.
        "prior": {
            "profile": torch.ones(steps, len(fit.sites)),
            **{
                f"prior.{site}.{stream}.{role}": torch.full((steps, 1, 1), 0.01)
                for site in fit.sites
                for stream in range(2)
                for role in range(2)
            },
        },
    }
    return names.Artefact(
        kind=names.Kind(kind),
        method=method,
        architecture=fit,
        sampling=names.Sampling(num_steps=steps),
        tensors=tensors[kind],
    )

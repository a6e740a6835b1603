"""Turns a method's configuration into widgets, and widget values back into a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field
from typing import Any

from comfy_api.latest import io

from ..cache_core import POLICIES, Policy, Setting


def method_input(names: list[str]) -> Any:
    """Return the combo that offers the methods `names`, each with the widgets of its own settings."""
    options = [io.DynamicCombo.Option(name, _widgets(name)) for name in names]
    titles = "; ".join(f"'{name}' is {POLICIES[name].title} ({POLICIES[name].source})" for name in names)
    return io.DynamicCombo.Input("method", options=options, tooltip=f"The caching method. {titles}.")


def make_policy(values: Mapping[str, Any]) -> Policy:
    """Return the policy for the values of a method combo.

    Raises:
        CacheError: If the method is unknown.
        ConfigError: If a setting is out of its bounds.
    """
    policy_type = POLICIES[values["method"]]
    names = [item.name for item, _ in policy_type.config_type.settings()]
    return policy_type(policy_type.config_type(**{name: values[name] for name in names if name in values}))


def _widgets(name: str) -> list[Any]:
    return [_widget(item, details) for item, details in POLICIES[name].config_type.settings()]


def _widget(item: Field[Any], details: Setting) -> Any:
    shared = {"default": item.default, "tooltip": details.help, "advanced": details.advanced or None}
    if details.choices:
        return io.Combo.Input(item.name, options=list(details.choices), **shared)
    bounds = {"min": details.minimum, "max": details.maximum}
    if isinstance(item.default, int):
        return io.Int.Input(item.name, **bounds, **shared)
    return io.Float.Input(item.name, step=0.01, **bounds, **shared)

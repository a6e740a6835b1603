"""Turns a method's configuration into widgets, and widget values back into a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field
from typing import Any

import torch
from comfy_api.latest import io

from ..cache_core import (
    CALIBRATIONS,
    CORRECTIONS,
    POLICIES,
    TRAININGS,
    Artefact,
    Calibration,
    Config,
    ConfigError,
    Policy,
    Residence,
    Setting,
)
from ..cache_core.forecasting import ForecastConfig

MEGABYTE = 1024 * 1024

NO_FILE = "none"
"""Of a combo of artefact files: no file."""

SAME = "same as model"
DEVICES = {SAME: None, "cpu": torch.device("cpu")}
DTYPES = {SAME: None, "bfloat16": torch.bfloat16, "float8": torch.float8_e4m3fn}


def method_input(names: list[str]) -> Any:
    """Return the combo that offers the methods `names`, each with the widgets of its own settings."""
    options = [io.DynamicCombo.Option(name, _widgets(POLICIES[name].config_type)) for name in names]
    titles = "; ".join(f"'{name}' is {POLICIES[name].title} ({POLICIES[name].source})" for name in names)
    return io.DynamicCombo.Input("method", options=options, tooltip=f"The caching method. {titles}.")


def method_option(name: str, *others: Any) -> Any:
    """Return a combo's option for a method: the widgets of its settings, with `others` in the place of those of their name."""
    replaced = {widget.id: widget for widget in others}
    own = _widgets(POLICIES[name].config_type)
    return io.DynamicCombo.Option(name, [replaced.get(widget.id, widget) for widget in own])


def calibration_input(names: list[str]) -> Any:
    """Return the combo that offers the calibrations `names`, each with the widgets of its own settings."""
    options = [io.DynamicCombo.Option(name, _widgets(CALIBRATIONS[name].config_type)) for name in names]
    titles = "; ".join(f"'{name}' makes {CALIBRATIONS[name].title}" for name in names)
    return io.DynamicCombo.Input("what", options=options, tooltip=f"What to calibrate. {titles}.")


def training_input(names: list[str]) -> Any:
    """Return the combo that offers the trainings `names`, each with the widgets of its own settings."""
    options = [io.DynamicCombo.Option(name, _widgets(TRAININGS[name].config_type)) for name in names]
    titles = "; ".join(f"'{name}' makes {TRAININGS[name].title} ({TRAININGS[name].source})" for name in names)
    return io.DynamicCombo.Input("method", options=options, tooltip=f"What to train. {titles}.")


def training_config(values: Mapping[str, Any], artefact: Artefact | None) -> Config:
    """Return the settings of a training for the values of its combo and the file chosen beside it.

    Raises:
        CacheError: If the training is unknown.
        ConfigError: If a setting is out of its bounds, a file is missing, or one is given for nothing.
    """
    config_type = TRAININGS[values["method"]].config_type
    fields = [item.name for item, details in config_type.settings() if details.kinds]
    if fields and artefact is None:
        raise ConfigError(
            f"'{values['method']}' needs a change profile, and 'profile' is '{NO_FILE}'. Make one with the node Feature Cache "
            "Calibrate, at the settings that you train with."
        )
    if not fields and artefact is not None:
        raise ConfigError(
            f"'profile' is {artefact}, but '{values['method']}' takes none. Set it to '{NO_FILE}'."
        )
    return config_type(**_given(config_type, values), **dict.fromkeys(fields, artefact))


def forecast_inputs() -> list[Any]:
    """Return the widgets that say how a forecast is made."""
    return _widgets(ForecastConfig)


def make_policy(values: Mapping[str, Any], artefact: Artefact | None = None) -> Policy:
    """Return the policy for the values of a method combo and the file chosen beside it.

    Raises:
        CacheError: If the method is unknown.
        ConfigError: If a setting is out of its bounds, a file is missing, or one is given for nothing.
    """
    policy_type = POLICIES[values["method"]]
    held = _held("method", policy_type, artefact)
    return policy_type(policy_type.config_type(**_given(policy_type.config_type, values), **held))


def correction_input() -> Any:
    """Return the combo that offers the corrections, each with the widgets of its own settings."""
    options = [io.DynamicCombo.Option(name, _widgets(CORRECTIONS[name].config_type)) for name in CORRECTIONS]
    titles = "; ".join(
        f"'{name}' is {CORRECTIONS[name].title} ({CORRECTIONS[name].source})" for name in CORRECTIONS
    )
    return io.DynamicCombo.Input(
        "correction", options=options, tooltip=f"How to correct what is reused. {titles}."
    )


def make_correction(inner: Policy, values: Mapping[str, Any], artefact: Artefact | None = None) -> Policy:
    """Return `inner` with a correction on top, for the values of a correction combo and the file chosen beside it.

    Raises:
        CacheError: If the correction is unknown, or the file fits neither it nor `inner`.
        ConfigError: If a setting is out of its bounds, a file is missing, or one is given for nothing.
    """
    correction = CORRECTIONS[values["correction"]]
    held = _held("correction", correction, artefact)
    return correction(inner, correction.config_type(**_given(correction.config_type, values), **held))


def make_probe(values: Mapping[str, Any]) -> Calibration:
    """Return a new probe for the values of a calibration combo.

    Raises:
        CacheError: If the calibration is unknown.
        ConfigError: If a setting is out of its bounds.
    """
    probe_type = CALIBRATIONS[values["what"]]
    return probe_type(probe_type.config_type(**_given(probe_type.config_type, values)))


def artefact_fields(owner: type[Policy]) -> list[str]:
    """Return the names of the settings of a method or correction that hold an artefact."""
    return [item.name for item, details in owner.config_type.settings() if details.kinds]


def window_inputs() -> list[Any]:
    """Return the widgets for the part of the sampling in which reuse is allowed."""
    return [
        _percent("start_percent", 0.0, "Nothing is reused before this point of the sampling (0 = start)."),
        _percent("end_percent", 1.0, "Nothing is reused after this point of the sampling (1 = end)."),
    ]


def check_window(start_percent: float, end_percent: float) -> None:
    """Check the values of `window_inputs`.

    Raises:
        ConfigError: If nothing could ever be reused.
    """
    if start_percent >= end_percent:
        raise ConfigError(
            f"'start_percent' is {start_percent} and 'end_percent' {end_percent}, expected the start before the "
            "end: nothing could ever be reused. Lower the first or raise the second."
        )


def memory_inputs() -> list[Any]:
    """Return the widgets that say where and how features are held; every node that makes a cache has them.

    They are optional, so that a prompt saved without them still runs.
    """
    return [
        io.Combo.Input(
            "cache_device",
            options=list(DEVICES),
            default=SAME,
            optional=True,
            advanced=True,
            tooltip="Where features wait between steps. 'cpu' keeps them in the computer's memory instead of the graphics "
            "card's: exactly the same picture, and some of the time saved goes into moving them.",
        ),
        io.Combo.Input(
            "cache_dtype",
            options=list(DTYPES),
            default=SAME,
            optional=True,
            advanced=True,
            tooltip="The type features are held in, where it is smaller than the model's. 'bfloat16' halves them in a float32 "
            "model. 'float8' halves them in a 16-bit model, at up to 6% error in each number, which can be seen.",
        ),
        io.Int.Input(
            "memory_budget_mb",
            default=0,
            min=0,
            max=1024 * 1024,
            optional=True,
            advanced=True,
            tooltip="Most megabytes of features to hold; 0 is no limit. The last blocks of the model are given up first: "
            "they are computed in every step, and the report counts them. Less memory, less speed.",
        ),
    ]


def made_for_input() -> Any:
    """Return the widget that tells whoever opens a shared workflow what its artefact file was made for."""
    return io.String.Input(
        "made_for",
        default="",
        optional=True,
        advanced=True,
        tooltip="For sharing: for which model and settings the file was made. Choosing a file fills it with what the file says of "
        "itself; words of your own, such as where to get the file, stay. Whoever opens the workflow without the file is told. Changes "
        "nothing else.",
    )


def make_residence(cache_device: str, cache_dtype: str, memory_budget_mb: int) -> Residence:
    """Return what the values of `memory_inputs` mean."""
    return Residence(
        device=DEVICES[cache_device],
        dtype=DTYPES[cache_dtype],
        budget=memory_budget_mb * MEGABYTE or None,
    )


def _percent(name: str, default: float, help_text: str) -> Any:
    return io.Float.Input(
        name, default=default, min=0.0, max=1.0, step=0.01, tooltip=help_text, advanced=True
    )


def _held(word: str, owner: type[Policy], artefact: Artefact | None) -> dict[str, Artefact]:
    """Return the chosen file by the setting that takes it; `word` is what `owner` is called in errors."""
    fields = artefact_fields(owner)
    needed = [
        item.name
        for item, details in owner.config_type.settings()
        if details.kinds and not details.is_optional
    ]
    if needed and artefact is None:
        raise ConfigError(
            f"The {word} '{owner.name}' needs a file, and 'artefact' is '{NO_FILE}'. Choose one that was made for this "
            "model, or make one: the node Feature Cache Calibrate does, with the settings you will sample with."
        )
    if not fields and artefact is not None:
        raise ConfigError(
            f"'artefact' is {artefact}, but the {word} '{owner.name}' takes no file. Set it to '{NO_FILE}'."
        )
    return {} if artefact is None else dict.fromkeys(fields, artefact)


def _given(config_type: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a combo's values that are settings of `config_type`."""
    return {item.name: values[item.name] for item, _ in config_type.settings() if item.name in values}


def _widgets(config_type: type[Config]) -> list[Any]:
    """Return a widget per setting; an artefact is chosen elsewhere, as a file."""
    return [_widget(item, details) for item, details in config_type.settings() if not details.kinds]


def _widget(item: Field[Any], details: Setting) -> Any:
    shared = {"default": item.default, "tooltip": details.help, "advanced": details.advanced or None}
    if details.choices:
        return io.Combo.Input(item.name, options=list(details.choices), **shared)
    if details.form:
        return io.String.Input(item.name, **shared)
    bounds = {"min": details.minimum, "max": details.maximum}
    if isinstance(item.default, int):
        return io.Int.Input(item.name, **bounds, **shared)
    return io.Float.Input(item.name, step=0.01, **bounds, **shared)

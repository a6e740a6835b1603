"""The node `TeaCacheThreshold`: skip the blocks while an indicator has hardly changed."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..cache_core import POLICIES, Adapter, Artefact, ArtefactError, ConfigError, Kind, Policy
from ..cache_core.ops.teacache_coefficients import PUBLISHED
from .artefact_files import artefact_input, artefacts, find_artefact, missing, stamp
from .host import CacheBinding, adapter_of, attach
from .progress import show_on_sampler
from .published_coefficients import AUTO, choose
from .widgets import (
    NO_FILE,
    SAME,
    check_window,
    made_for_input,
    make_residence,
    memory_inputs,
    method_option,
    window_inputs,
)

log = logging.getLogger("cache_core")

KINDS = (Kind.COEFFICIENTS, Kind.RATIOS)


class TeaCacheThreshold(io.ComfyNode):
    """Compute a step only when what goes into the blocks has changed enough since the last computed one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's id, inputs and outputs."""
        return io.Schema(
            node_id="TeaCacheThreshold",
            display_name="TeaCache Threshold",
            category="FeatureCache",
            description="Makes a Diffusion Transformer (Flux, SD3, PixArt) sample faster by skipping its blocks in steps where their "
            "input has hardly changed: TeaCache, or SeaCache, which needs no calibration. One threshold decides how much "
            "is skipped; the first and the last step are always computed. Add a Feature Cache Report to see which were.",
            search_aliases=[
                "teacache",
                "tea cache",
                "seacache",
                "adaptive caching",
                "speed up",
                "faster sampling",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to speed up. It is cloned; the original stays as it is."
                ),
                _indicator_input(),
                *window_inputs(),
                artefact_input(
                    {NO_FILE: "", **artefacts(KINDS)},
                    default=NO_FILE,
                    optional=True,
                    tooltip="Of 'teacache': a file with coefficients that Feature Cache Calibrate made for this model; it takes the "
                    "place of 'coefficients'. Of 'magcache': a file with the model's ratios.",
                ),
                *memory_inputs(),
                made_for_input(),
            ],
            outputs=[io.Model.Output(tooltip="The model with the cache. One cache per model.")],
        )

    @classmethod
    def validate_inputs(
        cls, artefact: str | None = None, made_for: str = "", indicator: Any = None
    ) -> bool | str:
        """Say what a missing file is, before anything runs; without this ComfyUI would only say that it is missing.

        ComfyUI passes the value of a dynamic combo, such as `indicator`, whether it is named or not.
        """
        return artefact in (None, NO_FILE) or missing(str(artefact), made_for or "") or True

    @classmethod
    def fingerprint_inputs(cls, artefact: str = NO_FILE, **others: Any) -> Any:
        """Run again when the file has changed."""
        return None if artefact == NO_FILE else stamp(artefact)

    @classmethod
    def execute(
        cls,
        model: Any,
        indicator: dict[str, Any],
        start_percent: float,
        end_percent: float,
        artefact: str = NO_FILE,
        cache_device: str = SAME,
        cache_dtype: str = SAME,
        memory_budget_mb: int = 0,
        made_for: str = "",
    ) -> io.NodeOutput:
        """Return a clone of `model` that carries the cache.

        Raises:
            CacheError: If the model is not supported or cached already, a setting is out of its bounds, or the file is
                missing, damaged, of another kind or made for another model.
        """
        check_window(start_percent, end_percent)
        adapter = adapter_of(model)
        fitted = None if artefact == NO_FILE else find_artefact(artefact, adapter, made_for)
        make = INDICATORS.get(indicator["indicator"])
        if make is None:
            raise ConfigError(
                f"'indicator' is '{indicator['indicator']}', expected one of {', '.join(map(repr, INDICATORS))}."
            )
        residence = make_residence(cache_device, cache_dtype, memory_budget_mb)
        binding = CacheBinding(make(indicator, fitted, adapter), start_percent, end_percent, residence)
        return io.NodeOutput(attach(model, binding))


def _teacache(values: dict[str, Any], fitted: Artefact | None, adapter: Adapter) -> Policy:
    """Return TeaCache with the polynomial of the file, of the chosen name, or of the model where that is 'auto'."""
    if fitted is not None and (fitted.kind is not Kind.COEFFICIENTS or fitted.method != "teacache"):
        raise ArtefactError(
            f"The artefact {fitted} is of {fitted.describe()}. This node takes TeaCache's coefficients: choose another "
            f"file, or '{NO_FILE}'."
        )
    name = values["coefficients"]
    if name == AUTO:
        choice = choose(adapter)
        name = choice.name
        if fitted is None:
            log.info(choice.reason)
            show_on_sampler(choice.reason)
    return _policy("teacache", threshold=values["threshold"], coefficients=name, fitted=fitted)


def _seacache(values: dict[str, Any], fitted: Artefact | None, adapter: Adapter) -> Policy:
    _refuse_file("seacache", fitted)
    return _policy("seacache", threshold=values["threshold"], beta=values["beta"])


def _first_block(values: dict[str, Any], fitted: Artefact | None, adapter: Adapter) -> Policy:
    _refuse_file("first_block", fitted)
    names = ("threshold", "warmup", "max_consecutive")
    return _policy("first_block", **{name: values[name] for name in names})


def _magcache(values: dict[str, Any], fitted: Artefact | None, adapter: Adapter) -> Policy:
    """Return MagCache with the ratios of the file, or of the chosen name."""
    if fitted is not None and fitted.kind is not Kind.RATIOS:
        raise ArtefactError(
            f"The artefact {fitted} is of {fitted.describe()}. The indicator 'magcache' takes ratios: choose another file, "
            f"or '{NO_FILE}'."
        )
    names = ("threshold", "retention", "max_consecutive", "ratios")
    return _policy("magcache", **{name: values[name] for name in names}, measured=fitted)


def _refuse_file(indicator: str, file: Artefact | None) -> None:
    if file is not None:
        raise ConfigError(
            f"'artefact' is {file}, but the indicator '{indicator}' takes no file. Set it to '{NO_FILE}'."
        )


def _policy(name: str, **settings: Any) -> Policy:
    return POLICIES[name](POLICIES[name].config_type(**settings))


INDICATORS = {
    "teacache": _teacache,
    "seacache": _seacache,
    "first_block": _first_block,
    "magcache": _magcache,
}


def _indicator_input() -> Any:
    coefficients = io.Combo.Input(
        "coefficients",
        options=[AUTO, *PUBLISHED],
        default=AUTO,
        tooltip="The polynomial that makes of the indicator's change an estimate of the picture's. 'auto' takes the one published "
        "for this model, by its shape; where there is none, and with 'identity', the change is taken as it is.",
    )
    options = [
        method_option("teacache", _threshold_input("teacache"), coefficients),
        method_option("seacache", _threshold_input("seacache")),
        method_option("first_block", _threshold_input("first_block")),
        method_option("magcache", _threshold_input("magcache")),
    ]
    return io.DynamicCombo.Input(
        "indicator",
        options=options,
        tooltip="What the threshold is compared with. 'teacache' is the change of the first block's modulated input, rescaled by "
        "coefficients that belong to a model (arXiv:2411.19108). 'seacache' filters noise out of the same input and needs no "
        "coefficients (arXiv:2602.18993): begin with it on SD3 and PixArt. 'first_block' runs the first block and compares its "
        "residual (First Block Cache); 'magcache' follows a table of how the residual's magnitude drifts (arXiv:2506.09045).",
    )


def _threshold_input(method: str) -> Any:
    """Return the widget of a method's threshold, finer than others: fitted polynomials need it."""
    item, details = next(s for s in POLICIES[method].config_type.settings() if s[0].name == "threshold")
    return io.Float.Input(
        "threshold",
        default=item.default,
        min=details.minimum,
        max=details.maximum,
        step=0.01,
        round=0.0001,
        tooltip=details.help,
    )

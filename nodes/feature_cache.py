"""The node `FeatureCache`: static schedules on a MODEL."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core import Kind
from .artefact_files import artefact_input, artefacts, find_artefact, missing, stamp
from .host import CacheBinding, adapter_of, attach
from .widgets import (
    NO_FILE,
    SAME,
    check_window,
    made_for_input,
    make_policy,
    make_residence,
    memory_inputs,
    method_input,
    window_inputs,
)

METHODS = ["step_list", "fora", "block_caching"]
KINDS = (Kind.PROFILE, Kind.STEPS)
"""What files the methods take."""


class FeatureCache(io.ComfyNode):
    """Reuse features of a Diffusion Transformer between denoising steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's id, inputs and outputs."""
        return io.Schema(
            node_id="FeatureCache",
            display_name="Feature Cache",
            category="FeatureCache",
            description="Makes a Diffusion Transformer (Flux, SD3, PixArt) sample faster by reusing, between steps, features that "
            "have hardly changed. Place it after the model loader and any LoRA; add a Feature Cache Report to see "
            "what was saved.",
            search_aliases=["fora", "feature caching", "speed up", "faster sampling", "cache", "teacache"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to speed up. It is cloned; the original stays as it is."
                ),
                method_input(METHODS),
                *window_inputs(),
                *memory_inputs(),
                artefact_input(
                    {NO_FILE: "", **artefacts(KINDS)},
                    default=NO_FILE,
                    optional=True,
                    tooltip="A file made for this model, number of steps and sampler. 'block_caching' needs one, from Feature Cache "
                    "Calibrate. 'step_list' may take one, from Feature Cache Schedule Search, in the place of its own rule. Other "
                    "methods take none.",
                ),
                made_for_input(),
            ],
            outputs=[io.Model.Output(tooltip="The model with the cache. One cache per model.")],
        )

    @classmethod
    def validate_inputs(
        cls, artefact: str | None = None, made_for: str = "", method: Any = None
    ) -> bool | str:
        """Say what a missing file is, before anything runs; without this ComfyUI would only say that it is missing.

        ComfyUI leaves the checking of what is named here to us, and passes the value of a dynamic combo, such as
        `method`, whether it is named or not.
        """
        return artefact in (None, NO_FILE) or missing(str(artefact), made_for or "") or True

    @classmethod
    def fingerprint_inputs(cls, artefact: str = NO_FILE, **others: Any) -> Any:
        """Run again when the file has changed."""
        return stamp(artefact)

    @classmethod
    def execute(
        cls,
        model: Any,
        method: dict[str, Any],
        start_percent: float,
        end_percent: float,
        cache_device: str = SAME,
        cache_dtype: str = SAME,
        memory_budget_mb: int = 0,
        artefact: str = NO_FILE,
        made_for: str = "",
    ) -> io.NodeOutput:
        """Return a clone of `model` that carries the cache.

        Raises:
            CacheError: If the model is not supported or cached already, a setting is out of its bounds, or the file is
                missing, damaged or made for another model.
        """
        check_window(start_percent, end_percent)
        file = None if artefact == NO_FILE else find_artefact(artefact, adapter_of(model), made_for)
        residence = make_residence(cache_device, cache_dtype, memory_budget_mb)
        binding = CacheBinding(make_policy(method, file), start_percent, end_percent, residence)
        return io.NodeOutput(attach(model, binding))

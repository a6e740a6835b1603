"""The node `FeatureCache`: static schedules on a MODEL."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core import ConfigError
from .host import CacheBinding, attach
from .widgets import make_policy, method_input

METHODS = ["fora"]


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
                _percent(
                    "start_percent", 0.0, "Nothing is reused before this point of the sampling (0 = start)."
                ),
                _percent("end_percent", 1.0, "Nothing is reused after this point of the sampling (1 = end)."),
            ],
            outputs=[io.Model.Output(tooltip="The model with the cache. One cache per model.")],
        )

    @classmethod
    def execute(
        cls, model: Any, method: dict[str, Any], start_percent: float, end_percent: float
    ) -> io.NodeOutput:
        """Return a clone of `model` that carries the cache.

        Raises:
            CacheError: If the model is not supported or cached already, or a setting is out of its bounds.
        """
        if start_percent >= end_percent:
            raise ConfigError(
                f"'start_percent' is {start_percent} and 'end_percent' {end_percent}, expected the start before the "
                "end: nothing could ever be reused. Lower the first or raise the second."
            )
        return io.NodeOutput(attach(model, CacheBinding(make_policy(method), start_percent, end_percent)))


def _percent(name: str, default: float, help_text: str) -> Any:
    return io.Float.Input(
        name, default=default, min=0.0, max=1.0, step=0.01, tooltip=help_text, advanced=True
    )

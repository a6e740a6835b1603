"""The node `FeatureCacheReport`: what the last run of a cached MODEL did, as a table and a picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..cache_core import CacheError
from .host import current_prompt, find_binding
from .picture import draw
from .text import numbers, table

EARLIER = (
    "From an earlier run: ComfyUI took the samples from its own cache, so nothing was sampled this time.\n\n"
)


class FeatureCacheReport(io.ComfyNode):
    """Show what a cached model computed and reused, how long it took and what it held."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's id, inputs and outputs."""
        return io.Schema(
            node_id="FeatureCacheReport",
            display_name="Feature Cache Report",
            category="FeatureCache",
            description="After sampling, shows per step and block what was computed or reused, seconds, bytes, refresh "
            "and cost ratio, ideal and measured speedup.",
            search_aliases=["cache statistics", "speedup", "refresh ratio", "cache report"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The cached model that the sampler used."),
                io.Latent.Input(
                    "samples", tooltip="The sampler's output: makes this node wait for the sampling."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="picture", tooltip="The report as a picture."),
                io.String.Output(display_name="report", tooltip="The report as text."),
            ],
        )

    @classmethod
    def execute(cls, model: Any, samples: Any) -> io.NodeOutput:
        """Return picture and text of the last run of `model`.

        Raises:
            CacheError: If the model carries no cache, or has not been sampled.
        """
        binding = find_binding(model)
        if binding is None:
            raise CacheError(
                "The MODEL carries no cache: there is nothing to report. Connect the output of a Feature Cache node, "
                "the same that goes to the sampler."
            )
        report = binding.ledger.report
        if report is None:
            raise CacheError(
                "The cached MODEL has not been sampled. Connect the same MODEL to the sampler, and that sampler's "
                "latent to 'samples'."
            )
        text = table(report)
        if binding.ledger.prompt_id != current_prompt():
            text = EARLIER + text
        picture = draw(report)
        shown = ui.PreviewImage(picture, cls=cls).as_dict() | ui.PreviewText(text).as_dict()
        return io.NodeOutput(picture, text, ui=shown | {"feature_cache_report": (numbers(report),)})

"""The node `ErrorOptimizer`: corrects what the cache of a MODEL reuses."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core import CacheConflictError, Kind, Overlay
from .artefact_files import artefact_input, artefacts, find_artefact, missing, stamp
from .host import adapter_of, find_binding, replace_policy
from .widgets import NO_FILE, correction_input, made_for_input, make_correction

KINDS = (Kind.PRIOR,)
"""What files the corrections take."""


class ErrorOptimizer(io.ComfyNode):
    """Take away some of the error that reuse makes, whatever the method."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's id, inputs and outputs."""
        return io.Schema(
            node_id="ErrorOptimizer",
            display_name="Feature Cache Error Optimizer",
            category="FeatureCache",
            description="Makes a cached model's pictures more like the uncached ones, at the same speed: what the cache reuses is "
            "corrected by its last change (GOC) or by how much it differs on average (EOC). Place it behind the node that makes "
            "the cache: Feature Cache, TeaCache Threshold or Feature Cache Router Loader.",
            search_aliases=[
                "goc",
                "eoc",
                "gradient-optimized cache",
                "error-optimized cache",
                "correction",
                "quality",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A model that carries a cache. It is cloned; the original stays as it is.",
                ),
                correction_input(),
                artefact_input(
                    {NO_FILE: "", **artefacts(KINDS)},
                    default=NO_FILE,
                    optional=True,
                    tooltip="The prior of 'error_optimized', made by Feature Cache Calibrate ('prior') for this model, number of steps "
                    "and sampler, at the level at which the cache reuses. 'gradient_optimized' takes none.",
                ),
                made_for_input(),
            ],
            outputs=[io.Model.Output(tooltip="The model with its cache corrected.")],
        )

    @classmethod
    def validate_inputs(
        cls, artefact: str | None = None, made_for: str = "", correction: Any = None
    ) -> bool | str:
        """Say what a missing file is, before anything runs; without this ComfyUI would only say that it is missing.

        ComfyUI passes the value of a dynamic combo, such as `correction`, whether it is named or not.
        """
        return artefact in (None, NO_FILE) or missing(str(artefact), made_for or "") or True

    @classmethod
    def fingerprint_inputs(cls, artefact: str = NO_FILE, **others: Any) -> Any:
        """Run again when the file has changed."""
        return None if artefact == NO_FILE else stamp(artefact)

    @classmethod
    def execute(
        cls, model: Any, correction: dict[str, Any], artefact: str = NO_FILE, made_for: str = ""
    ) -> io.NodeOutput:
        """Return a clone of `model` whose cache is corrected.

        Raises:
            CacheConflictError: If the model carries no cache, or one that is corrected already.
            CacheError: If a setting is out of its bounds, or the file is missing, damaged, or made for another model or
                level.
        """
        present = find_binding(model)
        if present is None:
            raise CacheConflictError(
                "This MODEL carries no cache, so there is nothing to correct. Place this node behind one that makes a cache: "
                "Feature Cache, TeaCache Threshold or Feature Cache Router Loader."
            )
        if isinstance(present.policy, Overlay):
            raise CacheConflictError(
                f"The cache of this MODEL is corrected already ({present.policy.label}: {present.policy.describe()}). Two "
                "corrections would both take away the same error: remove one of the two Error Optimizer nodes."
            )
        prior = None if artefact == NO_FILE else find_artefact(artefact, adapter_of(model), made_for)
        return io.NodeOutput(replace_policy(model, make_correction(present.policy, correction, prior)))

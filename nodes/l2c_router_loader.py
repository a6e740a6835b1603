"""The node `L2CRouterLoader`: routers and masks from files on a MODEL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..cache_core import POLICIES, Artefact, ArtefactError, ConfigError, Kind, Policy
from .artefact_files import artefact_input, find_artefact, missing, schedules, stamp
from .host import CacheBinding, adapter_of, attach
from .widgets import SAME, check_window, made_for_input, make_residence, memory_inputs, window_inputs

ROUTERS = ("learning_to_cache", "harmonica")
FROM_FILE, SET_HERE = "from file", "set here"


class L2CRouterLoader(io.ComfyNode):
    """Compute and reuse what a trained router or a searched mask says, step by step and site by site."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's id, inputs and outputs."""
        return io.Schema(
            node_id="L2CRouterLoader",
            display_name="Feature Cache Router Loader",
            category="FeatureCache",
            description="Makes a Diffusion Transformer sample faster with a schedule from a file: a router of Learning-to-Cache or "
            "HarmoniCa, a mask of ECAD or SmoothCache, or a published list of full steps. The file must have been made for this "
            "model; it is checked.",
            search_aliases=[
                "learning-to-cache",
                "l2c",
                "harmonica",
                "ecad",
                "smoothcache",
                "router",
                "mask",
                "schedule",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to speed up. It is cloned; the original stays as it is."
                ),
                artefact_input(
                    schedules(),
                    tooltip="The file with the schedule, from 'models/feature_cache' or what the pack brings. It says for which "
                    "model, steps and sampler it was made; with other steps it is mapped, with a warning, or refused.",
                ),
                _threshold_input(),
                *window_inputs(),
                *memory_inputs(),
                made_for_input(),
            ],
            outputs=[io.Model.Output(tooltip="The model with the cache. One cache per model.")],
        )

    @classmethod
    def validate_inputs(
        cls, artefact: str | None = None, made_for: str = "", threshold: Any = None
    ) -> bool | str:
        """Say what a missing file is, before anything runs; without this ComfyUI would only say that it is missing.

        ComfyUI leaves the checking of what is named here to us, and passes the value of a dynamic combo, such as
        `threshold`, whether it is named or not.
        """
        return artefact is None or missing(artefact, made_for or "") or True

    @classmethod
    def fingerprint_inputs(cls, artefact: str, **others: Any) -> Any:
        """Run again when the file has changed."""
        return stamp(artefact)

    @classmethod
    def execute(
        cls,
        model: Any,
        artefact: str,
        threshold: dict[str, Any],
        start_percent: float,
        end_percent: float,
        cache_device: str = SAME,
        cache_dtype: str = SAME,
        memory_budget_mb: int = 0,
        made_for: str = "",
    ) -> io.NodeOutput:
        """Return a clone of `model` that follows the file.

        Raises:
            CacheError: If the file is missing, damaged or made for another model, the model is not supported or
                cached already, or a setting is out of its bounds.
        """
        check_window(start_percent, end_percent)
        policy = make_policy(find_artefact(artefact, adapter_of(model), made_for), threshold)
        residence = make_residence(cache_device, cache_dtype, memory_budget_mb)
        return io.NodeOutput(attach(model, CacheBinding(policy, start_percent, end_percent, residence)))


def make_policy(artefact: Artefact, threshold: Mapping[str, Any]) -> Policy:
    """Return the policy that follows an artefact.

    Args:
        artefact: A router or a mask.
        threshold: The value of the threshold combo.

    Raises:
        CacheError: If the artefact is of another kind, or a threshold is set that means nothing.
    """
    own = threshold["threshold"] == FROM_FILE
    if artefact.kind is Kind.MASK and own:
        return _policy("mask", mask=artefact)
    if artefact.kind is Kind.MASK:
        raise ConfigError(
            f"'threshold' is set, but {artefact} is a mask, which has none. Set it to '{FROM_FILE}'."
        )
    if artefact.kind is not Kind.ROUTER or artefact.method not in ROUTERS:
        raise ArtefactError(
            f"The artefact {artefact} is of {artefact.describe()}. This node takes routers and masks: choose another file."
        )
    value = artefact.threshold if own else threshold["value"]
    return _policy(artefact.method, router=artefact, **({} if value is None else {"threshold": value}))


def _policy(name: str, **settings: Any) -> Policy:
    policy_type = POLICIES[name]
    return policy_type(policy_type.config_type(**settings))


def _threshold_input() -> Any:
    options = [
        io.DynamicCombo.Option(FROM_FILE, []),
        io.DynamicCombo.Option(
            SET_HERE,
            [
                io.Float.Input(
                    "value",
                    default=0.1,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="0 computes everything: the picture is bit-identical to no node. Raising it reuses more.",
                )
            ],
        ),
    ]
    return io.DynamicCombo.Input(
        "threshold",
        options=options,
        tooltip="Of a router: a site is computed where its trained value is above this. A mask has none.",
    )

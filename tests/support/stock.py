"""ComfyUI's own nodes, called in this process as the executor calls them."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

MODULES = {
    "nodes_apg": ("APG",),
    "nodes_cfg": ("CFGZeroStar", "CFGNorm"),
    "nodes_context_windows": ("ContextWindowsManualNode",),
    "nodes_custom_sampler": (
        "BasicGuider",
        "BasicScheduler",
        "CFGGuider",
        "CFGOverride",
        "DisableNoise",
        "DualCFGGuider",
        "DualModelGuider",
        "KSamplerSelect",
        "RandomNoise",
        "SamplerCustom",
        "SamplerCustomAdvanced",
        "SamplerEulerAncestral",
        "SplitSigmas",
    ),
    "nodes_differential_diffusion": ("DifferentialDiffusion",),
    "nodes_easycache": ("EasyCacheNode", "LazyCacheNode"),
    "nodes_edit_model": ("ReferenceLatent",),
    "nodes_eps": ("EpsilonScaling", "TemporalScoreRescaling"),
    "nodes_flux": ("FluxGuidance", "FluxKVCache", "FluxKontextMultiReferenceLatentMethod"),
    "nodes_fresca": ("FreSca",),
    "nodes_hooks": (
        "ConditioningSetProperties",
        "ConditioningSetPropertiesAndCombine",
        "ConditioningTimestepsRange",
        "CreateHookKeyframe",
        "CreateHookLora",
        "SetHookKeyframes",
    ),
    "nodes_mahiro": ("Mahiro",),
    "nodes_model_advanced": ("ModelSamplingFlux", "ModelSamplingSD3", "RescaleCFG"),
    "nodes_nag": ("NAGuidance",),
    "nodes_pag": ("PerturbedAttentionGuidance",),
    "nodes_perpneg": ("PerpNeg", "PerpNegGuider"),
    "nodes_sag": ("SelfAttentionGuidance",),
    "nodes_sd3": ("SkipLayerGuidanceSD3",),
    "nodes_slg": ("SkipLayerGuidanceDiT", "SkipLayerGuidanceDiTSimple"),
    "nodes_tcfg": ("TCFG",),
    "nodes_torch_compile": ("TorchCompileModel",),
}
"""Classes of the host's extra nodes by the file they stand in; every other name is looked for in `nodes`."""


def stock(name: str, **inputs: Any) -> tuple[Any, ...]:
    """Return the outputs of the stock node class `name`; skip the test where this host has none.

    An input that this host's version of the node does not know is left out.
    """
    node = _find(name)
    function = node.execute if hasattr(node, "define_schema") else getattr(node(), node.FUNCTION)
    known = inspect.signature(function).parameters
    output = function(**{key: value for key, value in inputs.items() if key in known})
    return output if isinstance(output, tuple) else tuple(output.result)


def _find(name: str) -> Any:
    homes = [module for module, names in MODULES.items() if name in names]
    path = f"comfy_extras.{homes[0]}" if homes else "nodes"
    try:
        return getattr(importlib.import_module(path), name)
    except (ModuleNotFoundError, AttributeError):
        pytest.skip(f"this ComfyUI has no node '{name}'")

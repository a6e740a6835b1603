"""Nodes on the MODEL's line, before and after ours: guidance variants, model sampling, other packs' ways to patch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .base import FAMILIES, Cell, ksampler, levels_of, stock

GUIDANCE: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "SkipLayerGuidanceDiT": (
        ("flux", "sd3"),
        {
            "double_layers": "1",
            "single_layers": "1",
            "scale": 2.0,
            "start_percent": 0.0,
            "end_percent": 0.6,
            "rescaling_scale": 0.2,
        },
    ),
    "SkipLayerGuidanceDiTSimple": (
        ("flux", "sd3"),
        {"double_layers": "1", "single_layers": "1", "start_percent": 0.0, "end_percent": 1.0},
    ),
    "SkipLayerGuidanceSD3": (
        ("sd3",),
        {"layers": "0", "scale": 2.0, "start_percent": 0.0, "end_percent": 1.0},
    ),
    "PerturbedAttentionGuidance": (FAMILIES, {"scale": 2.0}),
    "RescaleCFG": (FAMILIES, {"multiplier": 0.7}),
    "CFGZeroStar": (FAMILIES, {}),
    "CFGNorm": (FAMILIES, {"strength": 1.0, "pre_cfg": False}),
    "APG": (FAMILIES, {"eta": 1.0, "norm_threshold": 5.0, "momentum": 0.3}),
    "TCFG": (FAMILIES, {}),
    "Mahiro": (FAMILIES, {}),
    "EpsilonScaling": (FAMILIES, {"scaling_factor": 1.005}),
    "TemporalScoreRescaling": (FAMILIES, {"tsr_k": 0.95, "tsr_sigma": 1.0}),
    "FreSca": (FAMILIES, {"scale_low": 1.0, "scale_high": 1.25, "freq_cutoff": 2}),
    "NAGuidance": (("flux",), {"nag_scale": 2.0, "nag_alpha": 0.5, "nag_tau": 1.5}),
    "CFGOverride": (FAMILIES, {"cfg": 1.0, "start_percent": 0.5, "end_percent": 1.0}),
    "ModelSamplingFlux": (("flux",), {"max_shift": 1.15, "base_shift": 0.5, "width": 64, "height": 64}),
    "ModelSamplingSD3": (("sd3",), {"shift": 2.0}),
}
"""The families a node fits, and its settings. SelfAttentionGuidance reads a U-Net's middle block: not for a DiT."""
EXTRA_PASSES = {"SkipLayerGuidanceDiT", "SkipLayerGuidanceDiTSimple", "SkipLayerGuidanceSD3"}


def _patched(model: Any, name: str) -> Any:
    return stock(name, model=model, **GUIDANCE[name][1])[0]


def _guidance() -> list[Cell]:
    return [
        Cell(
            group="guidance nodes",
            name=name,
            family=family,
            level=level,
            order=order,
            line=partial(_patched, name=name),
            sample=partial(ksampler, steps=8),
            core=level == "module" and order == "before" and family == families[0],
        )
        for name, (families, _) in GUIDANCE.items()
        for family in families
        for level in (levels_of(family) if name in EXTRA_PASSES else ("module",))
        for order in (("before", "after") if family == families[0] else ("after",))
    ]


def _function_wrapper(model: Any) -> Any:
    """A model function wrapper, as many packs set it: scales what the network returns."""
    clone = model.clone()
    clone.set_model_unet_function_wrapper(
        lambda apply, args: 0.9 * apply(args["input"], args["timestep"], **args["c"])
    )
    return clone


def _one_branch_at_a_time(model: Any) -> Any:
    """A model function wrapper that takes the batch apart, as packs do to save memory."""

    def wrapper(apply: Callable[..., torch.Tensor], args: dict[str, Any]) -> torch.Tensor:
        return torch.cat([apply(args["input"], args["timestep"], **args["c"])])

    clone = model.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    return clone


def _diffusion_wrapper(model: Any) -> Any:
    """A wrapper around the network's forward; SD3 and PixArt never call it."""
    from comfy.patcher_extension import WrappersMP

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        output: torch.Tensor = executor(*args, **kwargs)
        return 0.9 * output

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "another pack", wrapper)
    return clone


def _apply_wrapper(model: Any) -> Any:
    from comfy.patcher_extension import WrappersMP

    clone = model.clone()
    clone.add_wrapper_with_key(
        WrappersMP.APPLY_MODEL,
        "another pack",
        lambda executor, *args, **kwargs: 0.9 * executor(*args, **kwargs),
    )
    return clone


def _replaced_block(model: Any) -> Any:
    """A block replacement that calls the original and changes what it returns."""

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        output: dict[str, Any] = extra["original_block"](args)
        return output | {"img": 0.9 * output["img"]}

    clone = model.clone()
    clone.set_model_patch_replace(replace, "dit", "double_block", 1)
    return clone


def _attention_override(model: Any) -> Any:
    """Another attention function, put into the options as packs for other kernels do."""

    def override(function: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        output: torch.Tensor = function(*args, **kwargs)
        return 0.9 * output

    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = override
    return clone


def _object_patch(model: Any) -> Any:
    """Another forward for a sub-module, as an object patch: what packs do that have no hook to use."""
    clone = model.clone()
    network = clone.model.diffusion_model
    path = next(name for name, _ in network.named_modules() if name.endswith(("img_mlp.0", "mlp.fc1")))
    original = type(network.get_submodule(path)).forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = original(network.get_submodule(path), x)
        return 0.9 * output

    clone.add_object_patch(f"diffusion_model.{path}.forward", forward)
    return clone


OTHER_PACKS: dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]] = {
    "model function wrapper": (FAMILIES, _function_wrapper),
    "model function wrapper, rebatched": (FAMILIES, _one_branch_at_a_time),
    "DIFFUSION_MODEL wrapper": (("flux",), _diffusion_wrapper),
    "APPLY_MODEL wrapper": (FAMILIES, _apply_wrapper),
    "block replacement": (("flux", "sd3"), _replaced_block),
    "attention override": (("flux", "sd3"), _attention_override),
    "object patch on a sub-module": (FAMILIES, _object_patch),
}


def _others() -> list[Cell]:
    return [
        Cell(
            group="other packs' ways",
            name=name,
            family=family,
            level=level,
            order=order,
            line=line,
            sample=ksampler,
            core=level == "module" and family == "flux",
        )
        for name, (families, line) in OTHER_PACKS.items()
        for family in families
        for level in levels_of(family)
        for order in (("before", "after") if family == "flux" else ("after",))
    ]


CELLS = [*_guidance(), *_others()]

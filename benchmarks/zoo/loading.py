"""Builds the host's own SD3 or PixArt from a narrow checkpoint, which its stock loader cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .architectures import Architecture, ArchitectureError, PixArtArchitecture, read_architecture


class CheckpointError(ValueError):
    """The file is not a narrow model of the zoo."""


def load_narrow(path: str) -> Any:
    """Load a narrow checkpoint through the host's own configuration of its family.

    Model class, sampling, latent format and handling of conditioning are the host's; only the width is not
    detected but read from the file.

    Args:
        path: A safetensors file written by `zoo.train sd3` or `zoo.train pixart`.

    Returns:
        The host's ModelPatcher.

    Raises:
        CheckpointError: If the file is truncated or something else.
    """
    weights, architecture = _read(Path(path))
    return _load(weights, _configure(architecture))


def _read(path: Path) -> tuple[dict[str, Tensor], Architecture]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            architecture = read_architecture(file.metadata())
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _require_weights(weights, architecture)
    except (SafetensorError, ArchitectureError) as error:
        raise CheckpointError(
            f'zoo: "{path.name}" cannot be loaded: {error}. Expected a narrow SD3 or PixArt of the zoo '
            "(zoo_sd3.safetensors, zoo_pixart.safetensors), whole. Copy the file again from "
            'benchmarks/zoo/checkpoints; other models load with "Load Diffusion Model".'
        ) from error
    return weights, architecture


def _require_weights(weights: dict[str, Tensor], architecture: Architecture) -> None:
    """Compare names and shapes with the described model, built without memory for its weights."""
    config = _configure(architecture)
    config.set_inference_dtype(torch.float32, None)
    expected = config.get_model({}, "", device=torch.device("meta")).diffusion_model.state_dict()
    missing, foreign = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or foreign:
        raise ArchitectureError(
            f"it lacks {len(missing)} weights (first: {missing[:1]}) and has {len(foreign)} others (first: {foreign[:1]})"
        )
    wrong = [name for name, value in expected.items() if value.shape != weights[name].shape]
    if wrong:
        got, want = tuple(weights[wrong[0]].shape), tuple(expected[wrong[0]].shape)
        raise ArchitectureError(f'"{wrong[0]}" has the shape {got}; its description needs {want}')


def _configure(architecture: Architecture) -> Any:
    import comfy.supported_models

    is_pixart = isinstance(architecture, PixArtArchitecture)
    family = comfy.supported_models.PixArtSigma if is_pixart else comfy.supported_models.SD3
    return family(architecture.unet_config())


def _load(weights: dict[str, Tensor], config: Any) -> Any:
    import comfy.model_management as management
    import comfy.model_patcher

    device, offload = management.get_torch_device(), management.unet_offload_device()
    num_parameters = sum(value.numel() for value in weights.values())
    dtype = management.unet_dtype(
        model_params=num_parameters,
        supported_dtypes=config.supported_inference_dtypes,
        weight_dtype=next(iter(weights.values())).dtype,
    )
    config.set_inference_dtype(
        dtype, management.unet_manual_cast(dtype, device, config.supported_inference_dtypes)
    )
    model = config.get_model(weights, "")
    model.to(offload)
    model.load_model_weights(weights, "")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload)

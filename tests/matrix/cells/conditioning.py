"""What a graph does to the conditioning: areas, masks, ranges, lengths, ControlNet, hooks, references, inpainting."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import real
import torch

from .base import FAMILIES, MODELS, Cell, ksampler, latent, over_levels, stock

Positive = Any
"""A function of the MODEL that returns a CONDITIONING."""


def _with_positive(model: Any, positive: Positive, **inputs: Any) -> torch.Tensor:
    return ksampler(model, positive=positive(model), **inputs)


def _picture_size(model: Any) -> int:
    return int(8 * real.latent_shape(model)[1])


def _area(seed: int, size: int, *, x: int = 0) -> list[Any]:
    """Return a prompt for a part of the picture; PixArt divides by zero below 264 px, so its part is the whole height."""
    width = size if size > 64 else 64
    area = {"width": width, "height": size, "x": x, "y": 0, "strength": 1.0}
    return list(stock("ConditioningSetArea", conditioning=real.conditioning(seed), **area)[0])


def _areas(model: Any) -> list[Any]:
    """A prompt for the whole and one for a half; negative and half meet in a shape of their own."""
    return real.conditioning(1) + _area(3, _picture_size(model))


def _half_areas(model: Any) -> list[Any]:
    """Two areas of one size, on a latent twice as wide: the negative's copies for them differ by place only."""
    return _area(1, 64) + _area(3, 64, x=64)


def _masks(model: Any, bounds: str) -> list[Any]:
    size = _picture_size(model)
    mask = torch.zeros(1, size, size)
    mask[:, :, : size // 2] = 1.0
    masked = [
        stock(
            "ConditioningSetMask",
            conditioning=real.conditioning(seed),
            mask=part,
            strength=1.0,
            set_cond_area=bounds,
        )[0]
        for seed, part in ((1, mask), (3, 1 - mask))
    ]
    return [entry for conditioning in masked for entry in conditioning]


def _ranges(model: Any) -> list[Any]:
    early, late = (
        stock("ConditioningSetTimestepRange", conditioning=real.conditioning(seed), start=start, end=end)[0]
        for seed, start, end in ((1, 0.0, 0.55), (3, 0.4, 1.0))
    )
    return [*early, *late]


def _combined(model: Any) -> list[Any]:
    return list(
        stock(
            "ConditioningCombine",
            conditioning_1=real.conditioning(1),
            conditioning_2=real.conditioning(3, tokens=16),
        )[0]
    )


def _wide(model: Any) -> dict[str, torch.Tensor]:
    return {"samples": torch.zeros(1, real.latent_shape(model)[0], 8, 16)}


def _prompts() -> list[Cell]:
    graphs = {
        "area": partial(_with_positive, positive=_areas),
        "masks": partial(_with_positive, positive=partial(_masks, bounds="default")),
        "timestep ranges": partial(_with_positive, positive=_ranges, steps=8),
        "prompts of different lengths": partial(
            _with_positive, positive=lambda model: real.conditioning(1, tokens=16)
        ),
        "combined prompts of different lengths": partial(_with_positive, positive=_combined),
    }
    group = "areas, masks, ranges, lengths"
    cells = [
        cell for name, sample in graphs.items() for cell in over_levels(group=group, name=name, sample=sample)
    ]
    for name, positive in {
        "areas of one size": _half_areas,
        "mask bounds": partial(_masks, bounds="mask bounds"),
    }.items():
        cells += over_levels(
            group=group,
            name=name,
            families=("flux", "sd3"),
            sample=lambda model, positive=positive: ksampler(
                model,
                positive=positive(model),
                latent_image=_wide(model) if positive is _half_areas else latent(model),
            ),
        )
    return cells


@cache
def _controlnet(family: str) -> Any:
    """Return a CONTROL_NET of the host's own class with seeded random weights, one block deep."""
    import comfy.cldm.mmdit
    import comfy.controlnet
    import comfy.ldm.flux.controlnet
    import comfy.ops

    operations = comfy.ops.disable_weight_init
    if family == "flux":
        config = real.FLUX_CONFIG | {"depth": 1, "depth_single_blocks": 1}
        network = comfy.ldm.flux.controlnet.ControlNetFlux(
            **config, dtype=torch.float32, operations=operations
        )
        settings: dict[str, Any] = {"extra_conds": ["y", "guidance"]}
    else:
        network = comfy.cldm.mmdit.ControlNet(
            num_blocks=1,
            control_latent_channels=3,
            in_channels=16,
            depth=2,
            input_size=None,
            adm_in_channels=32,
            context_embedder_config={
                "target": "torch.nn.Linear",
                "params": {"in_features": 48, "out_features": 128},
            },
            qk_norm="rms",
            num_patches=64,
            pos_embed_max_size=8,
            operations=operations,
        )
        # The published ones read a latent; one that reads the picture at the latent's size needs no autoencoder.
        settings = {"compression_ratio": 1}
    network.load_state_dict(real._weights(network, 11))
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"), **settings)


def _controlled(model: Any, family: str, start: float, end: float) -> torch.Tensor:
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(4))
    positive, negative = stock(
        "ControlNetApplyAdvanced",
        positive=real.conditioning(1),
        negative=real.conditioning(2),
        control_net=_controlnet(family),
        image=picture,
        strength=0.8,
        start_percent=start,
        end_percent=end,
    )
    return ksampler(model, positive=positive, negative=negative, steps=8)


def _controls() -> list[Cell]:
    return [
        cell
        for family in ("flux", "sd3")
        for name, start, end in (
            ("whole run", 0.0, 1.0),
            ("first half", 0.0, 0.55),
            ("second half", 0.45, 1.0),
        )
        for cell in over_levels(
            core=((family, "module"), (family, "stack")) if name == "whole run" else (),
            families=(family,),
            group="ControlNet",
            name=name,
            sample=partial(_controlled, family=family, start=start, end=end),
        )
    ]


LORA_LAYERS = {
    "flux": ("double_blocks.1.img_mlp.0", "single_blocks.0.linear2", "double_blocks.0.img_attn.qkv"),
    "sd3": ("joint_blocks.0.x_block.mlp.fc1", "joint_blocks.1.x_block.attn.qkv"),
    "pixart": ("blocks.0.mlp.fc1", "blocks.2.attn.proj"),
}


@cache
def lora_file(family: str) -> Path:
    """Return a small random LoRA file for a family's tiny model, in the host's folder of LoRAs."""
    import folder_paths
    from safetensors.torch import save_file

    network = real.network_of(MODELS[family]())
    generator = torch.Generator().manual_seed(21)
    weights = {}
    for name in LORA_LAYERS[family]:
        rows, columns = network.get_submodule(name).weight.shape
        key = f"diffusion_model.{name}"
        weights[f"{key}.lora_up.weight"] = 0.3 * torch.randn(rows, 2, generator=generator)
        weights[f"{key}.lora_down.weight"] = 0.3 * torch.randn(2, columns, generator=generator)
    folder = Path(_folder().name)
    folder_paths.add_model_folder_path("loras", str(folder))
    save_file(weights, folder / f"matrix_{family}.safetensors")
    return folder / f"matrix_{family}.safetensors"


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


def with_lora(model: Any, family: str, strength: float = 1.0) -> Any:
    """Return the MODEL behind the stock LoRA loader."""
    return stock(
        "LoraLoaderModelOnly", model=model, lora_name=lora_file(family).name, strength_model=strength
    )[0]


def _hooked(model: Any, family: str, *, keyframes: bool) -> torch.Tensor:
    """A LoRA as a hook on one of two combined prompts, in full force or only from the middle on."""
    hooks = stock("CreateHookLora", lora_name=lora_file(family).name, strength_model=1.0, strength_clip=0.0)[
        0
    ]
    if keyframes:
        early = stock("CreateHookKeyframe", strength_mult=0.0, start_percent=0.0)[0]
        late = stock("CreateHookKeyframe", strength_mult=1.0, start_percent=0.5, prev_hook_kf=early)[0]
        hooks = stock("SetHookKeyframes", hooks=hooks, hook_kf=late)[0]
    positive = stock(
        "ConditioningSetProperties",
        cond_NEW=real.conditioning(1),
        strength=1.0,
        set_cond_area="default",
        hooks=hooks,
    )[0]
    return ksampler(model, positive=positive + real.conditioning(3), steps=8)


def _loras() -> list[Cell]:
    cells = []
    for family in LORA_LAYERS:
        for order in ("before", "after"):
            cells += over_levels(
                group="LoRA and hooks",
                name="stock LoRA loader",
                families=(family,),
                order=order,
                sample=ksampler,
                line=partial(with_lora, family=family),
            )
        for name, keyframes in (("hook on a prompt", False), ("hook with keyframes", True)):
            cells += over_levels(
                group="LoRA and hooks",
                name=name,
                families=(family,),
                sample=partial(_hooked, family=family, keyframes=keyframes),
            )
    return cells


def _dev_model() -> Any:
    """A tiny Flux dev: guidance is an input of the network, embedded beside the timestep."""
    return real._random_flux(real.FLUX_CONFIG | {"guidance_embed": True}, 0, None)


def _distilled(model: Any, cfg: float) -> torch.Tensor:
    positive, negative = (
        stock("FluxGuidance", conditioning=real.conditioning(seed), guidance=guidance)[0]
        for seed, guidance in ((1, 3.5), (2, 1.0))
    )
    return ksampler(model, positive=positive, negative=negative, cfg=cfg)


def _distillations() -> list[Cell]:
    return [
        cell
        for cfg in (1.0, 4.0)
        for cell in over_levels(
            group="distilled guidance",
            name=f"cfg {cfg:g}",
            families=("flux",),
            make=_dev_model,
            sample=partial(_distilled, cfg=cfg),
        )
    ]


def _masked_latent(model: Any) -> dict[str, torch.Tensor]:
    size = _picture_size(model)
    mask = torch.zeros(1, size, size)
    mask[:, size // 4 :, size // 4 :] = torch.linspace(0.2, 1.0, size - size // 4)
    return latent(model, empty=False) | {"noise_mask": mask}


def _inpainted(model: Any) -> torch.Tensor:
    return ksampler(model, latent_image=_masked_latent(model), denoise=0.8, steps=6)


class _Autoencoder:
    """Enough of a VAE for InpaintModelConditioning: a fixed linear map from 8 x 8 pixels to the latent's channels."""

    def __init__(self, channels: int) -> None:
        self._channels = channels

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return small.mean(1, keepdim=True).repeat(1, self._channels, 1, 1)


def _inpaint_model() -> Any:
    """A tiny Flux Fill: its input has the masked picture and the mask beside the latent."""
    return real._random_flux(real.FLUX_CONFIG | {"in_channels": 96}, 0, None)


def _filled(model: Any) -> torch.Tensor:
    pixels = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(4))
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:, 16:] = 1.0
    positive, negative, masked = stock(
        "InpaintModelConditioning",
        positive=real.conditioning(1),
        negative=real.conditioning(2),
        vae=_Autoencoder(16),
        pixels=pixels,
        mask=mask,
        noise_mask=True,
    )
    return ksampler(model, positive=positive, negative=negative, latent_image=masked)


def _differential(model: Any) -> Any:
    return stock("DifferentialDiffusion", model=model, strength=1.0)[0]


def _inpaints() -> list[Cell]:
    cells = over_levels(group="inpaint", name="noise mask", sample=_inpainted)
    for order in ("before", "after"):
        cells += over_levels(
            group="inpaint",
            name="differential diffusion",
            sample=_inpainted,
            line=_differential,
            order=order,
        )
    return cells + over_levels(
        group="inpaint",
        name="InpaintModelConditioning",
        families=("flux",),
        make=_inpaint_model,
        sample=_filled,
    )


def _referenced(model: Any, method: str, number: int) -> torch.Tensor:
    positive = real.conditioning(1)
    for seed in range(number):
        picture = torch.randn(
            1, *real.latent_shape(model), generator=torch.Generator().manual_seed(30 + seed)
        )
        positive = stock("ReferenceLatent", conditioning=positive, latent={"samples": picture})[0]
    positive = stock(
        "FluxKontextMultiReferenceLatentMethod", conditioning=positive, reference_latents_method=method
    )[0]
    return ksampler(model, positive=positive)


def _references() -> list[Cell]:
    methods = {
        "flux": (real.random_flux, ("offset", "index", "uxo/uno")),
        "flux2": (real.random_flux2, ("index", "index_timestep_zero")),
    }
    return [
        cell
        for model, (make, names) in methods.items()
        for method in names
        for number in (1, 2)
        for cell in over_levels(
            group="reference pictures",
            name=f"{model} {method} x{number}",
            families=("flux",),
            make=make,
            sample=partial(_referenced, method=method, number=number),
        )
    ]


def _windows() -> list[Cell]:
    """Windows over a batch of four, as the stock node lays them over the frames of a video."""

    def line(model: Any, schedule: str) -> Any:
        windows = {
            "context_length": 2,
            "context_overlap": 1,
            "context_schedule": schedule,
            "context_stride": 1,
            "closed_loop": False,
            "fuse_method": "pyramid",
            "dim": 0,
            "freenoise": False,
        }
        return stock("ContextWindowsManualNode", model=model, **windows)[0]

    return [
        cell
        for schedule in ("standard_static", "standard_uniform", "batched")
        for order, families in (("before", FAMILIES), ("after", ("flux",)))
        for cell in over_levels(
            group="context windows",
            families=families,
            name=schedule,
            order=order,
            line=partial(line, schedule=schedule),
            sample=lambda model: ksampler(model, latent_image=latent(model, 4), steps=8),
        )
    ]


CELLS = [
    *_prompts(),
    *_controls(),
    *_loras(),
    *_distillations(),
    *_inpaints(),
    *_references(),
    *_windows(),
]

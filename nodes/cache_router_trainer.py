"""The node `CacheRouterTrainer`: trains a router for a MODEL at the settings it will be sampled with, and saves it as a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..cache_core import TRAININGS, Kind
from ..cache_core.training.trainer import Progress, Trainer
from .artefact_files import artefacts, find_artefact, missing, save_folder
from .chart_picture import draw, image_of
from .host import adapter_of
from .progress import show_on_sampler
from .router_training import Order, train
from .saving import file_name_input, sampling_inputs, saved
from .uncached import Conditioning, KSamplerSettings, live_progress
from .widgets import NO_FILE, training_config, training_input


class CacheRouterTrainer(io.ComfyNode):
    """Train which features a model needs to compute afresh in which step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's id, inputs and outputs."""
        return io.Schema(
            node_id="CacheRouterTrainer",
            display_name="Feature Cache Router Trainer",
            category="FeatureCache",
            description="Trains a router of Learning-to-Cache or HarmoniCa, or Block Caching's scale-shift adjustment, for a model at "
            "the settings it will be sampled with, and saves it in 'models/feature_cache' for the Feature Cache nodes. The model "
            "itself stays as it is. Takes hours on a large model; stopped, it is saved and goes on the next time.",
            search_aliases=[
                "learning-to-cache",
                "l2c",
                "harmonica",
                "scale-shift",
                "train router",
                "cache training",
            ],
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model to train for, without a cache, with the LoRAs you will use. Weights in float32, bfloat16 or "
                    "float16; its router serves quantised versions too.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="The prompts, joined with Conditioning (Combine): each sampling takes the next one. The more and the more "
                    "varied, the better.",
                ),
                io.Conditioning.Input("negative", tooltip="The negative prompt of every sampling."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="Size of the pictures, and how many are sampled at a time; the papers use 64 over all devices. What is in "
                    "them does not matter.",
                ),
                training_input(list(TRAININGS)),
                *sampling_inputs(1, 1000, "The router is for this number of steps."),
                *_training_inputs(),
                io.Latent.Input(
                    "clean_images",
                    optional=True,
                    tooltip="Of 'learning_to_cache': encoded pictures to add noise to, as in its paper. Without them it learns from "
                    "the model's own uncached samplings.",
                ),
                io.Combo.Input(
                    "profile",
                    options=[NO_FILE, *artefacts((Kind.PROFILE,))],
                    default=NO_FILE,
                    optional=True,
                    tooltip="Of 'scale_shift': the change profile that Block Caching will use, from Feature Cache Calibrate.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="artefact", tooltip="Name of the file that was saved."),
                io.Image.Output(
                    display_name="plot", tooltip="The router and how it was learned, as a picture."
                ),
                io.String.Output(display_name="findings", tooltip="What came of it, as text."),
            ],
        )

    @classmethod
    def validate_inputs(cls, profile: str = NO_FILE, method: Any = None) -> bool | str:
        """Say what a missing file is, before anything runs; ComfyUI passes the dynamic combo whether it is named or not."""
        return profile == NO_FILE or missing(profile) or True

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        method: dict[str, Any],
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        seed: int,
        iterations: int,
        save_every: int,
        recompute_blocks: bool,
        file_name: str,
        clean_images: dict[str, Any] | None = None,
        profile: str = NO_FILE,
    ) -> io.NodeOutput:
        """Train, save the file, and return its name with picture and text.

        Raises:
            CacheError: If the model is not supported or cached, carries no gradients or is too large, or settings mean nothing.
        """
        artefact = None if profile == NO_FILE else find_artefact(profile, adapter_of(model))
        order = Order(
            model=model,
            prompts=[[prompt] for prompt in positive],
            negative=negative,
            latent=latent_image,
            clean=clean_images,
            settings=KSamplerSettings(steps=steps, cfg=cfg, sampler=sampler_name, scheduler=scheduler),
            method=method["method"],
            config=training_config(method, artefact),
            iterations=iterations,
            seed=seed,
            folder=save_folder(),
            name=file_name,
            save_every=save_every,
            recompute=recompute_blocks,
        )
        done = train(
            order, _live(iterations), lambda line: show_on_sampler(f"Feature Cache: training, {line}")
        )
        assert done.path is not None
        return saved(cls, done.path, done.artefact, done.charts, done.text)


def _live(iterations: int) -> Callable[[Progress, Trainer], None]:
    """Return what shows the training while it runs: text and bar after every iteration, the plot every few seconds."""
    show = live_progress(iterations)

    def on_progress(progress: Progress, trainer: Trainer) -> None:
        def picture() -> Any:
            return image_of(draw((*trainer.outcome().charts, *trainer.charts()), str(progress), ""))

        show_on_sampler(f"Feature Cache: training, {progress}")
        show(progress.iteration, picture)

    return on_progress


def _training_inputs() -> list[Any]:
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**31 - 1,
            tooltip="Of the router's first scores and of all noise: the same seed gives the same router. With 'speedup' the times that are "
            "measured first decide too.",
        ),
        io.Int.Input(
            "iterations",
            default=1000,
            min=1,
            max=1_000_000,
            tooltip="Samplings to learn from: each updates every trained step once. The papers' routers saw about 2000 updates "
            "per step. A training that was stopped can be given more.",
        ),
        io.Int.Input(
            "save_every",
            default=50,
            min=1,
            max=100_000,
            advanced=True,
            tooltip="Iterations after which the training is saved, besides when it is stopped. It goes on when the node runs "
            "again with the same settings and file name.",
        ),
        io.Boolean.Input(
            "recompute_blocks",
            default=True,
            advanced=True,
            tooltip="Run every block again on the way back instead of keeping its activations: much less memory, a third more "
            "time. The router is the same.",
        ),
        file_name_input("method, model, steps and sampler"),
    ]

"""The node `CacheScheduleSearch`: finds what of a MODEL to compute for a wished speedup, and saves it as a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from comfy_api.latest import io

from ..cache_core.forecasting import ForecastConfig
from .artefact_files import save_folder
from .chart_picture import draw, image_of
from .progress import show_on_sampler
from .saving import denoise_input, file_name_input, sampling_inputs, saved
from .schedule_finding import Progress, find
from .schedule_order import LEVELS, MOST_STEPS, Order, Searched
from .uncached import Conditioning, KSamplerSettings, live_progress
from .widgets import forecast_inputs


class CacheScheduleSearch(io.ComfyNode):
    """Find a step list or a mask for a wished speedup on a user's own model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's id, inputs and outputs."""
        return io.Schema(
            node_id="CacheScheduleSearch",
            display_name="Feature Cache Schedule Search",
            category="FeatureCache",
            description="Finds which steps of a model to compute for a wished speedup: samples it uncached once per prompt and seed, works "
            "out the best list of full steps from that, tries it and others near it, and saves the best one in 'models/feature_cache' for "
            "Feature Cache ('step_list'). Shows its error beside other lists and fewer steps. Takes minutes; stopped, it keeps the best list so far. "
            "Instead of a list it can search a mask, which says for every block in which steps it is computed.",
            search_aliases=[
                "schedule search",
                "step list",
                "searched schedule",
                "calibration",
                "full steps",
                "mask",
            ],
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to search for, without a cache, with the LoRAs you will use."
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="The prompts. Several, joined with Conditioning (Combine), are sampled one after the other: two or three "
                    "unlike each other are enough.",
                ),
                io.Conditioning.Input("negative", tooltip="The negative prompt of every sampling."),
                io.Latent.Input(
                    "latent_image", tooltip="Size and number of pictures per sampling; the size you will use."
                ),
                *_sampling_inputs(),
                *_search_inputs(),
                *forecast_inputs(),
                file_name_input("model, steps, sampler and speedup"),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="With it lists are compared by their pictures (PSNR), which is what you see; without it by their latents, which "
                    "hold things that no picture shows.",
                ),
                io.Combo.Input(
                    "searches",
                    options=list(LEVELS),
                    default="steps",
                    optional=True,
                    tooltip="What is decided about. 'steps': which steps are computed; in the others the model's output is forecast; a file "
                    "for Feature Cache. 'blocks' or 'modules' (attention and MLP): for each of them which steps compute it; in the others "
                    "it is reused; a file for Feature Cache Router Loader, and more memory. The text compares both.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="artefact", tooltip="Name of the file that was saved."),
                io.Image.Output(
                    display_name="plot", tooltip="The lists and the errors of all tries, as a picture."
                ),
                io.String.Output(
                    display_name="findings", tooltip="The list, and its error beside others, as text."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        seed: int,
        num_seeds: int,
        speedup: float,
        tries: int,
        minutes: float,
        file_name: str,
        vae: Any = None,
        searches: Searched = "steps",
        **forecast: Any,
    ) -> io.NodeOutput:
        """Search, save the file, and return its name with picture and text.

        Raises:
            CacheError: If the model is not supported or cached, or nothing can be searched with these settings.
        """
        order = Order(
            model=model,
            settings=KSamplerSettings(
                steps=steps, cfg=cfg, sampler=sampler_name, scheduler=scheduler, denoise=denoise
            ),
            prompts=[[prompt] for prompt in positive],
            negative=negative,
            latent=latent_image,
            seed=seed,
            num_seeds=num_seeds,
            speedup=speedup,
            forecast=ForecastConfig(**forecast),
            tries=tries,
            minutes=minutes,
            folder=save_folder(),
            searched=searches,
            vae=vae,
            name=file_name,
        )
        found = find(order, _Live())
        return saved(cls, found.path, found.artefact, found.charts, found.text)


class _Live:
    """Shows a search while it runs: text and bar after every step, the plot when there is more to see."""

    def __init__(self) -> None:
        self._show: Callable[..., None] | None = None
        self._num_drawn = 0

    def __call__(self, progress: Progress) -> None:
        self._show = self._show or live_progress(progress.total)
        show_on_sampler(f"Feature Cache: {progress}")
        picture = partial(self._picture, progress) if progress.num_tries != self._num_drawn else None
        self._show(progress.done, picture)

    def _picture(self, progress: Progress) -> Any:
        self._num_drawn = progress.num_tries
        return image_of(draw(progress.charts(), str(progress), ""))


def _sampling_inputs() -> list[Any]:
    """Return the widgets of a KSampler."""
    about_steps = "The list is for this number of steps; at others it is stretched, with a warning."
    return [
        *sampling_inputs(3, MOST_STEPS, about_steps),
        denoise_input(),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**63 - 1001,
            tooltip="Seed of the first sampling of every prompt; then one more. The seed after the last is for comparing the list "
            "that was found with others.",
        ),
        io.Int.Input(
            "num_seeds",
            default=4,
            min=1,
            max=1000,
            tooltip="Samplings per prompt that the search looks at. More make the list better for other pictures, and the search as "
            "many times longer; four to six in all are a good start.",
        ),
    ]


def _search_inputs() -> list[Any]:
    return [
        io.Float.Input(
            "speedup",
            default=2.0,
            min=1.05,
            max=20.0,
            step=0.05,
            tooltip="One step in so many is computed: the list has exactly as many full steps as this leaves.",
        ),
        io.Int.Input(
            "tries",
            default=12,
            min=1,
            max=10_000,
            tooltip="Most lists or masks to sample with. The first three or four are what is known without a search and what is worked out from the uncached "
            "sampling; most is gained by then.",
        ),
        io.Float.Input(
            "minutes",
            default=10.0,
            min=0.0,
            max=10_000.0,
            step=0.5,
            tooltip="No further list is begun after so many minutes. Comparing the one that was found takes about three samplings per prompt "
            "more.",
        ),
    ]

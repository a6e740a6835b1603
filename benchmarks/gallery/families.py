"""The three model families: which stock nodes load and prompt them, with which settings, from which files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .graph import Graph, Output, Widget

PROMPT = (
    "a large red ring at the left, a medium striped blue circle at the right, on plain ivory with shadows"
)
CALIBRATION_PROMPTS = (
    "a large dotted yellow circle at the center, on navy and maroon vertical stripes",
    "a medium green star at the top, a large orange square at the bottom, on white",
    'the word "SUN" in bold black at the center, on sky and mint checks',
)


PROMPTS = 360
"""Left edge of the column of prompts; the loaders are at 0."""


@dataclass(frozen=True)
class Loaded:
    """What the loaders give."""

    model: Output
    clip: Output
    vae: Output


@dataclass(frozen=True)
class Parts:
    """What a sampler needs, and the decoder."""

    model: Output
    positive: Output
    negative: Output
    latent: Output
    clip: Output
    vae: Output


@dataclass(frozen=True, kw_only=True)
class Family:
    """A published model and how it is sampled.

    Attributes:
        key: Begins the names of the workflows.
        title: Name of the model.
        prefix: Begins the names of files that were made for it.
        files: Where the model's files go, as a list in Markdown.
        load: Adds the loaders.
        latent: Node type of the empty latent.
        guidance: Value of the guidance that is told to the network instead of computed, where there is such.
        own_coefficients: Whether a polynomial of TeaCache is published for it.
        published: What others publish for it that the Router Loader reads; a sentence.
    """

    key: str
    title: str
    prefix: str
    files: str
    load: Callable[[Graph], Loaded]
    latent: str
    steps: int = 20
    cfg: float
    scheduler: str
    size: int = 1024
    guidance: float | None = None
    own_coefficients: bool = False
    published: str = ""

    @property
    def settings(self) -> dict[str, Widget]:
        """The widgets that a KSampler and a Calibrate node share."""
        return {
            "steps": self.steps,
            "cfg": self.cfg,
            "sampler_name": "euler",
            "scheduler": self.scheduler,
            "denoise": 1.0,
        }

    @property
    def made_for(self) -> str:
        """The model and settings that a file belongs to."""
        return f"{self.title}, {self.steps} steps, euler, {self.scheduler}, cfg {self.cfg:g}, {self.size} x {self.size}"

    def with_steps(self, steps: int) -> Family:
        """Return the same with another number of steps."""
        return replace(self, steps=steps)

    def begin(self, graph: Graph) -> Parts:
        """Add loaders, prompts and the empty latent, in two columns."""
        graph.column(0, 320)
        loaded = self.load(graph)
        graph.column(PROMPTS, 420)
        positive = graph.add("CLIPTextEncode", {"text": PROMPT}, title="Positive prompt", clip=loaded.clip)[0]
        positive = self.guide(graph, positive)
        negative = graph.add("CLIPTextEncode", {"text": ""}, title="Negative prompt", clip=loaded.clip)[0]
        size: dict[str, Widget] = {"width": self.size, "height": self.size, "batch_size": 1}
        latent = graph.add(self.latent, size)[0]
        return Parts(loaded.model, positive, negative, latent, loaded.clip, loaded.vae)

    def guide(self, graph: Graph, conditioning: Output, muted: bool = False) -> Output:
        """Add the node that tells the network its guidance, where the family has one."""
        if self.guidance is None:
            return conditioning
        return graph.add("FluxGuidance", {"guidance": self.guidance}, muted=muted, conditioning=conditioning)[
            0
        ]


def _load_flux(graph: Graph) -> Loaded:
    model = graph.add("UNETLoader", {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"})
    encoders: dict[str, Widget] = {
        "clip_name1": "clip_l.safetensors",
        "clip_name2": "t5xxl_fp16.safetensors",
        "type": "flux",
        "device": "default",
    }
    clip = graph.add("DualCLIPLoader", encoders)
    return Loaded(model[0], clip[0], graph.add("VAELoader", {"vae_name": "ae.safetensors"})[0])


def _load_sd3(graph: Graph) -> Loaded:
    node = graph.add("CheckpointLoaderSimple", {"ckpt_name": "sd3.5_large_fp8_scaled.safetensors"})
    return Loaded(node[0], node[1], node[2])


def _load_pixart(graph: Graph) -> Loaded:
    model = graph.add(
        "UNETLoader", {"unet_name": "PixArt-Sigma-XL-2-1024-MS.safetensors", "weight_dtype": "default"}
    )
    clip = graph.add(
        "CLIPLoader", {"clip_name": "t5xxl_fp16.safetensors", "type": "pixart", "device": "default"}
    )
    return Loaded(model[0], clip[0], graph.add("VAELoader", {"vae_name": "sdxl_vae.safetensors"})[0])


_ECAD = "With no training at all, try ECAD's masks for this model (github.com/AniAggarwal/ecad, `schedules/schedules_in_paper`): this node reads them as they are."

FLUX = Family(
    key="flux",
    title="FLUX.1-dev",
    prefix="flux1_dev",
    files="* `flux1-dev.safetensors` in `models/diffusion_models`\n"
    "* `clip_l.safetensors` and `t5xxl_fp16.safetensors` in `models/text_encoders`\n"
    "* `ae.safetensors` in `models/vae`",
    load=_load_flux,
    latent="EmptySD3LatentImage",
    cfg=1.0,
    scheduler="simple",
    guidance=3.5,
    own_coefficients=True,
    published=_ECAD,
)

SD3 = Family(
    key="sd3",
    title="SD3.5-large",
    prefix="sd35_large",
    files="* `sd3.5_large_fp8_scaled.safetensors` in `models/checkpoints`; it brings its text encoders and autoencoder",
    load=_load_sd3,
    latent="EmptySD3LatentImage",
    cfg=4.0,
    scheduler="sgm_uniform",
)

PIXART = Family(
    key="pixart",
    title="PixArt-Sigma",
    prefix="pixart_sigma",
    files="* PixArt-Sigma's transformer as `PixArt-Sigma-XL-2-1024-MS.safetensors` in `models/diffusion_models`\n"
    "* `t5xxl_fp16.safetensors` in `models/text_encoders`\n"
    "* `sdxl_vae.safetensors` in `models/vae`",
    load=_load_pixart,
    latent="EmptyLatentImage",
    cfg=4.5,
    scheduler="simple",
    published=_ECAD,
)

FAMILIES = (FLUX, SD3, PIXART)

"""The development nodes: captions for the zoo's checkpoints, and a loader for the two that no stock one takes."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import ComfyExtension, io

from .captions import embed
from .loading import load_narrow

EXAMPLE = (
    'the word "SUN" in bold yellow at the top, a large striped red circle at the center, '
    "on navy and charcoal checks with shadows"
)


class ZooCaption(io.ComfyNode):
    """Embeds a caption with the zoo's fixed embedding."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs of the node."""
        return io.Schema(
            node_id="ZooCaption",
            display_name="Zoo Caption (development)",
            category="feature_cache/development",
            description="Conditioning for the tiny development checkpoints (zoo_flux, zoo_sd3, zoo_pixart). "
            "Other models cannot read it.",
            search_aliases=["zoo prompt", "tiny flux caption"],
            inputs=[
                io.String.Input(
                    "caption",
                    multiline=True,
                    default=EXAMPLE,
                    tooltip="What to draw, in the words of the zoo's captions; quote letters to have them "
                    "spelled. Leave it empty for the unconditional (negative) side.",
                )
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning")],
        )

    @classmethod
    def execute(cls, caption: str) -> io.NodeOutput:
        """Embed the caption; context (1, 40, 256) with pooled output (1, 256)."""
        embedding = embed(caption)
        return io.NodeOutput([[embedding.context, {"pooled_output": embedding.pooled}]])


class ZooDiffusionLoader(io.ComfyNode):
    """Loads the zoo's SD3 and PixArt, which are narrower than the host's own loader knows them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs of the node."""
        return io.Schema(
            node_id="ZooDiffusionLoader",
            display_name="Zoo Diffusion Loader (development)",
            category="feature_cache/development",
            description="Loads the tiny development checkpoints zoo_sd3 and zoo_pixart as ComfyUI's own SD3 and "
            "PixArt-Sigma. zoo_flux and all other models load with Load Diffusion Model.",
            search_aliases=["tiny sd3", "tiny pixart"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=folder_paths.get_filename_list("diffusion_models"),
                    tooltip="zoo_sd3.safetensors or zoo_pixart.safetensors, in models/diffusion_models.",
                )
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        """Load the named file.

        Raises:
            CheckpointError: If the file is truncated or not one of the two.
        """
        return io.NodeOutput(load_narrow(folder_paths.get_full_path_or_raise("diffusion_models", model_name)))


class ZooExtension(ComfyExtension):
    """The pack's node list."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The two development nodes."""
        return [ZooCaption, ZooDiffusionLoader]


async def comfy_entrypoint() -> ZooExtension:
    """Entry point that the host calls."""
    return ZooExtension()

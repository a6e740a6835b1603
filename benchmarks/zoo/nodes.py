"""The development node: captions for the zoo's checkpoints, which have no text encoder."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .captions import embed

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
            description="Conditioning for the tiny development checkpoints (zoo_flux). "
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


class ZooExtension(ComfyExtension):
    """The pack's node list."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The one development node."""
        return [ZooCaption]


async def comfy_entrypoint() -> ZooExtension:
    """Entry point that the host calls."""
    return ZooExtension()

"""PixArt-alpha and PixArt-sigma: blocks of attention, cross-attention and MLP over image tokens.

Shapes: B batch, N image tokens, D width; a block's `x` is (B, N, D), the modulation input `t` (B, 6 * D). All three
branches are plain sub-modules; a replay is needed only where all are reused, to leave out norms and modulation. The
cross-attention is added without a gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from ..adapter import ADAPTERS, Router, leaf, missing_parts
from ..blocks import Block, BlockAdapter
from ..scope import Forward, ForwardPatch
from ..streams import Streams
from ..types import Site

PARTS = ("attn", "cross_attn", "mlp")


@ADAPTERS.register
class PixArtAdapter(BlockAdapter):
    """Features of `comfy.ldm.pixart.pixartms.PixArtMS`."""

    name = "pixart"
    classes = ("comfy.ldm.pixart.pixartms.PixArtMS",)
    lists = ("blocks",)
    timestep_embedder = "t_embedder"

    @classmethod
    def faults(cls, block: Block) -> list[str]:
        """Return what a block lacks."""
        modules = (*PARTS, "norm1")
        faults = missing_parts(block.module, str(block), modules, ("x", "t"))
        table = getattr(block.module, "scale_shift_table", None)
        return faults if isinstance(table, Tensor) else [*faults, f"{block} has no 'scale_shift_table'"]

    @property
    def patch_size(self) -> int:
        """Latent pixels along one edge of a token."""
        return int(self.network.patch_size)  # type: ignore[arg-type]

    def num_tokens(self, site: Site, image: int, text: int) -> int:
        """Return the tokens in a site's feature: a block has no text stream."""
        return image

    def streams(self, block: Block) -> Streams:
        """Return the token streams that pass through a block."""
        return Streams(names=("x",), image="x")

    def parts(self, block: Block) -> tuple[str, ...]:
        """Return the parts of a block at level MODULE."""
        return PARTS

    def module_patches(
        self, block: Block, sites: Mapping[str, Site], router: Router
    ) -> Iterator[ForwardPatch]:
        """Return the forward replacements of one block at level MODULE."""

        def wrap(original: Forward) -> Forward:
            def forward(x: Tensor, y: Any, t: Tensor, *args: Any, **kwargs: Any) -> Any:
                if not router.is_reused(*sites.values()):
                    return router.timed(tuple(sites.values()), lambda: original(x, y, t, *args, **kwargs))
                _, _, gate_attn, _, _, gate_mlp = _modulation(block.module, t, x)
                attn, cross_attn, mlp = (router.recall(site)[0] for site in sites.values())
                return x + gate_attn * attn + cross_attn + gate_mlp * mlp

            return forward

        for part, site in sites.items():
            yield leaf(getattr(block.module, part), site, router)
        yield ForwardPatch(block.module, wrap)

    def modulated_input(self, block: Block) -> Callable[..., Tensor]:
        """Return a function that takes the block's arguments and makes the image tokens its attention sees."""

        def read(x: Tensor, y: Any, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            shift, scale, *_ = _modulation(block.module, t, x)
            normed: Tensor = block.module.norm1(x)
            return normed * (1 + scale) + shift

        return read


def _modulation(block: Any, t: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """Return shift, scale and gate of the attention, then of the MLP, each (B, 1, D)."""
    table = block.scale_shift_table[None].to(dtype=x.dtype, device=x.device)
    chunks: tuple[Tensor, ...] = (table + t.reshape(x.shape[0], 6, -1)).chunk(6, dim=1)
    return chunks

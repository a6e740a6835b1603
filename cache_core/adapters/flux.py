"""Flux.1, Flux.2 and Chroma: double-stream blocks, then single-stream blocks.

Shapes: B batch, N image tokens, M text tokens, D width. `img` is (B, N, D), `txt` (B, M, D); a single block's
`x` is (B, M + N, D), text first. A double block has four branches (attention and MLP of image and text), a
single block one, because its attention and MLP leave through one projection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..adapter import ADAPTERS, Router, leaf, missing_parts
from ..blocks import Block, BlockAdapter
from ..scope import Forward, ForwardPatch
from ..streams import Streams
from ..types import Site

ModulationDims = list[tuple[int, int, int]] | None
"""Token ranges with a modulation row of their own (start, end, row); the host makes them for reference images."""

DOUBLE, SINGLE = "double_blocks", "single_blocks"
LEAVES = {
    DOUBLE: {
        "img_attn": "img_attn.proj",
        "txt_attn": "txt_attn.proj",
        "img_mlp": "img_mlp",
        "txt_mlp": "txt_mlp",
    },
    SINGLE: {"attn_mlp": "linear2"},
}
"""The parts of a block, and the sub-module whose output is the feature."""
NORMS = {DOUBLE: ("img_norm1", "img_norm2", "txt_norm2"), SINGLE: ()}
MODULATIONS = {DOUBLE: ("img_mod", "txt_mod"), SINGLE: ()}
"""What makes the gates of a block that modulates itself, beside what says whether it does."""
STREAMS = {DOUBLE: Streams(names=("img", "txt"), image="img"), SINGLE: Streams(names=("x",), image="x")}


@ADAPTERS.register
class FluxAdapter(BlockAdapter):
    """Features of `comfy.ldm.flux.model.Flux`."""

    name = "flux"
    classes: ClassVar[tuple[str, ...]] = ("comfy.ldm.flux.model.Flux",)
    lists = (DOUBLE, SINGLE)
    timestep_embedder: ClassVar[str | None] = "time_in"

    @classmethod
    def faults(cls, block: Block) -> list[str]:
        """Return what a block lacks."""
        own = MODULATIONS[block.path] if getattr(block.module, "modulation", None) else ()
        modules = (*LEAVES[block.path].values(), *NORMS[block.path], *own)
        faults = missing_parts(block.module, str(block), modules, (*STREAMS[block.path].names, "vec"))
        # Without the attribute nobody knows whether the block modulates itself or is told how.
        return faults if hasattr(block.module, "modulation") else [*faults, f"{block} has no 'modulation'"]

    @property
    def patch_size(self) -> int:
        """Latent pixels along one edge of a token."""
        return int(self.network.patch_size)  # type: ignore[arg-type]

    def streams(self, block: Block) -> Streams:
        """Return the token streams that pass through a block."""
        return STREAMS[block.path]

    def parts(self, block: Block) -> tuple[str, ...]:
        """Return the parts of a block at level MODULE."""
        return tuple(LEAVES[block.path])

    def module_patches(
        self, block: Block, sites: Mapping[str, Site], router: Router
    ) -> Iterator[ForwardPatch]:
        """Return the forward replacements of one block at level MODULE."""
        for part, site in sites.items():
            yield leaf(block.module.get_submodule(LEAVES[block.path][part]), site, router)
        replay = _double if block.path == DOUBLE else _single
        yield replay(block.module, sites, router)

    def modulated_input(self, block: Block) -> Callable[..., Tensor]:
        """Return a function that takes the block's arguments and makes the image tokens its attention sees."""
        first = block.module

        def read(
            img: Tensor, txt: Tensor, vec: Any, *args: Any, modulation_dims_img: Any = None, **kwargs: Any
        ) -> Tensor:
            attn_mod, _ = first.img_mod(vec) if first.modulation else vec[0]
            return _modulated(first.img_norm1(img), attn_mod, modulation_dims_img)

        return read


@ADAPTERS.register
class ChromaAdapter(FluxAdapter):
    """Features of `comfy.ldm.chroma.model.Chroma`: Flux's blocks, whose modulation one distilled network makes."""

    name = "chroma"
    classes = ("comfy.ldm.chroma.model.Chroma",)
    timestep_embedder = None


def _double(block: Any, sites: Mapping[str, Site], router: Router) -> ForwardPatch:
    img_attn, txt_attn, img_mlp, txt_mlp = sites.values()

    def wrap(original: Forward) -> Forward:
        def forward(
            img: Tensor,
            txt: Tensor,
            vec: Any,
            pe: Any = None,
            attn_mask: Any = None,
            modulation_dims_img: ModulationDims = None,
            modulation_dims_txt: ModulationDims = None,
            **kwargs: Any,
        ) -> Any:
            if not router.is_reused(img_attn, txt_attn):
                dims = {
                    "modulation_dims_img": modulation_dims_img,
                    "modulation_dims_txt": modulation_dims_txt,
                }
                return router.timed(
                    (img_attn, txt_attn), lambda: original(img, txt, vec, pe, attn_mask, **dims, **kwargs)
                )
            img_mods, txt_mods = (block.img_mod(vec), block.txt_mod(vec)) if block.modulation else vec
            img_half = _Half(block.img_norm2, block.img_mlp, img_mods, modulation_dims_img)
            txt_half = _Half(block.txt_norm2, block.txt_mlp, txt_mods, modulation_dims_txt)
            img = img_half.replay(img, img_attn, img_mlp, router)
            return img, _bounded(txt_half.replay(txt, txt_attn, txt_mlp, router))

        return forward

    return ForwardPatch(block, wrap)


class _Half:
    """One stream of a double block whose attention is reused: the gates, and the MLP where it is not."""

    def __init__(self, norm: nn.Module, mlp: nn.Module, mods: Any, dims: ModulationDims) -> None:
        self.norm, self.mlp, self.mods, self.dims = norm, mlp, mods, dims

    def replay(self, stream: Tensor, attn: Site, mlp: Site, router: Router) -> Tensor:
        attn_mod, mlp_mod = self.mods
        stream += _gated(router.recall(attn)[0], attn_mod.gate, self.dims)
        if router.is_reused(mlp):
            feature = router.recall(mlp)[0]
        else:
            feature = self.mlp(_modulated(self.norm(stream), mlp_mod, self.dims))
        stream += _gated(feature, mlp_mod.gate, self.dims)
        return stream


def _single(block: Any, sites: Mapping[str, Site], router: Router) -> ForwardPatch:
    (site,) = sites.values()

    def wrap(original: Forward) -> Forward:
        def forward(
            x: Tensor,
            vec: Any,
            pe: Any = None,
            attn_mask: Any = None,
            modulation_dims: ModulationDims = None,
            **kwargs: Any,
        ) -> Any:
            if not router.is_reused(site):
                kwargs["modulation_dims"] = modulation_dims
                return router.timed((site,), lambda: original(x, vec, pe, attn_mask, **kwargs))
            mod = block.modulation(vec)[0] if block.modulation else vec
            x += _gated(router.recall(site)[0], mod.gate, modulation_dims)
            return _bounded(x)

        return forward

    return ForwardPatch(block, wrap)


def _gated(feature: Tensor, gate: Tensor, dims: ModulationDims) -> Tensor:
    """Return the gated branch; with `dims`, `feature` is written in place: it is a copy, or fresh from its module."""
    if dims is None:
        return feature * gate
    for start, end, row in dims:
        feature[:, start:end] *= gate[:, row : row + 1]
    return feature


def _modulated(normed: Tensor, mod: Any, dims: ModulationDims) -> Tensor:
    if dims is None:
        return torch.addcmul(mod.shift, normed, 1 + mod.scale)
    for start, end, row in dims:
        normed[:, start:end] *= 1 + mod.scale[:, row : row + 1]
        normed[:, start:end] += mod.shift[:, row : row + 1]
    return normed


def _bounded(stream: Tensor) -> Tensor:
    """Return the stream with overflow cut off, as the host's blocks do in half precision."""
    if stream.dtype == torch.float16:
        return torch.nan_to_num(stream, nan=0.0, posinf=65504, neginf=-65504)
    return stream

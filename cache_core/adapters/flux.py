"""Flux.1 and Flux.2: double-stream blocks, then single-stream blocks.

Shapes: B batch, N image tokens, M text tokens, D width. `img` is (B, N, D), `txt` (B, M, D); a single block's
`x` is (B, M + N, D), text first. A double block has four branches (attention and MLP of image and text), a
single block one, because its attention and MLP leave through one projection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..adapter import ADAPTERS, Adapter, Router, leaf, missing_parts
from ..scope import Forward, ForwardPatch
from ..streams import Stack, Streams, residual_patch
from ..types import Level, Site

ModulationDims = list[tuple[int, int, int]] | None
"""Token ranges with a modulation row of their own (start, end, row); the host makes them for reference images."""

DOUBLE, SINGLE = "double_blocks", "single_blocks"
PARTS = {DOUBLE: ("img_attn", "txt_attn", "img_mlp", "txt_mlp"), SINGLE: ("attn_mlp",)}
STREAMS = {DOUBLE: Streams(names=("img", "txt"), image="img"), SINGLE: Streams(names=("x",), image="x")}
STACK_SITE = Site(level=Level.STACK, path="blocks", index=0, part="residual")


@ADAPTERS.register
class FluxAdapter(Adapter):
    """Features of `comfy.ldm.flux.model.Flux`."""

    name = "flux"
    classes = ("comfy.ldm.flux.model.Flux",)

    @classmethod
    def check(cls, network: nn.Module) -> list[str]:
        """Return what the network's blocks lack."""
        lists = (DOUBLE, SINGLE)
        faults = [
            f"it has no list '{n}'" for n in lists if not isinstance(getattr(network, n, None), nn.ModuleList)
        ]
        if faults:
            return faults
        modules = {
            DOUBLE: ("img_attn.proj", "txt_attn.proj", "img_mlp", "txt_mlp", "img_norm2", "txt_norm2"),
            SINGLE: ("linear2",),
        }
        for path, index, block in _blocks(network):
            faults += missing_parts(block, f"{path}.{index}", modules[path], (*STREAMS[path].names, "vec"))
        return faults

    def block_sites(self, level: Level) -> tuple[Site, ...]:
        """Return the sites of a level in the order they run."""
        if level is Level.STACK:
            return (STACK_SITE,)
        return tuple(site for path, index, _ in _blocks(self.network) for site in _sites(level, path, index))

    def block_patches(self, level: Level, router: Router) -> Iterator[ForwardPatch]:
        """Return the forward replacements that route one pass at `level` through `router`."""
        blocks = list(_blocks(self.network))
        stack = Stack(STACK_SITE, router)
        for number, (path, index, block) in enumerate(blocks):
            sites = _sites(level, path, index)
            if level is Level.STACK:
                yield stack.patch(block, STREAMS[path], first=number == 0, last=number == len(blocks) - 1)
            elif level is Level.BLOCK:
                yield residual_patch(block, sites[0], router, STREAMS[path])
            elif path == DOUBLE:
                yield from _double_patches(block, sites, router)
            else:
                yield from _single_patches(block, sites[0], router)


def _blocks(network: nn.Module) -> Iterator[tuple[str, int, nn.Module]]:
    for path in (DOUBLE, SINGLE):
        for index, block in enumerate(network.get_submodule(path).children()):
            yield path, index, block


def _sites(level: Level, path: str, index: int) -> tuple[Site, ...]:
    parts = PARTS[path] if level is Level.MODULE else ("residual",)
    return tuple(Site(level=level, path=path, index=index, part=part) for part in parts)


def _double_patches(block: Any, sites: tuple[Site, ...], router: Router) -> Iterator[ForwardPatch]:
    img_attn, txt_attn, img_mlp, txt_mlp = sites

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

    yield leaf(block.img_attn.proj, img_attn, router)
    yield leaf(block.txt_attn.proj, txt_attn, router)
    yield leaf(block.img_mlp, img_mlp, router)
    yield leaf(block.txt_mlp, txt_mlp, router)
    yield ForwardPatch(block, wrap)


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


def _single_patches(block: Any, site: Site, router: Router) -> Iterator[ForwardPatch]:
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

    yield leaf(block.linear2, site, router)
    yield ForwardPatch(block, wrap)


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

"""Flux.1 and its relatives that share the classes: double-stream blocks, then single-stream blocks.

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
from ..errors import UnsupportedModelError
from ..scope import Forward, ForwardPatch
from ..types import Feature, Level, Site

ModulationDims = list[tuple[int, int, int]] | None
"""Token ranges with a modulation row of their own (start, end, row); the host makes them for reference images."""

STACK_SITE = Site(level=Level.STACK, path="blocks", index=0, part="img")
DOUBLE_PARTS = ("img_attn", "txt_attn", "img_mlp", "txt_mlp")
SINGLE_PARTS = ("attn_mlp",)


@ADAPTERS.register
class FluxAdapter(Adapter):
    """Features of `comfy.ldm.flux.model.Flux`."""

    name = "flux"
    classes = ("comfy.ldm.flux.model.Flux",)
    levels = (Level.STACK, Level.BLOCK, Level.MODULE)

    @classmethod
    def check(cls, network: nn.Module) -> list[str]:
        """Return what the network's blocks lack."""
        lists = ("double_blocks", "single_blocks")
        faults = [
            f"it has no list '{n}'" for n in lists if not isinstance(getattr(network, n, None), nn.ModuleList)
        ]
        if faults:
            return faults
        modules = ("img_attn.proj", "txt_attn.proj", "img_mlp", "txt_mlp", "img_norm2", "txt_norm2")
        for path, index, block in _blocks(network):
            double = path == "double_blocks"
            names, arguments = (modules, ("img", "txt", "vec")) if double else (("linear2",), ("x", "vec"))
            faults += missing_parts(block, f"{path}.{index}", names, arguments)
        return faults

    def sites(self, level: Level) -> tuple[Site, ...]:
        """Return the sites of a level in the order they run."""
        if level not in self.levels:
            offered = ", ".join(f"'{each.value}'" for each in self.levels)
            raise UnsupportedModelError(
                f"Flux has no sites at level '{level.value}'. Choose one of {offered}."
            )
        if level is Level.STACK:
            return (STACK_SITE,)
        return tuple(site for path, index, _ in _blocks(self.network) for site in _sites(level, path, index))

    def patches(self, level: Level, router: Router) -> Iterator[ForwardPatch]:
        """Return the forward replacements that route one pass at `level` through `router`."""
        if level is Level.STACK:
            yield from _stack_patches(self.network, router)
            return
        for path, index, block in _blocks(self.network):
            sites = _sites(level, path, index)
            if level is Level.BLOCK:
                yield _block_patch(block, sites[0], router)
            elif path == "double_blocks":
                yield from _double_patches(block, sites, router)
            else:
                yield from _single_patches(block, sites[0], router)


def _blocks(network: nn.Module) -> Iterator[tuple[str, int, nn.Module]]:
    for path in ("double_blocks", "single_blocks"):
        for index, block in enumerate(network.get_submodule(path).children()):
            yield path, index, block


def _sites(level: Level, path: str, index: int) -> tuple[Site, ...]:
    parts = (
        ("residual",) if level is Level.BLOCK else DOUBLE_PARTS if path == "double_blocks" else SINGLE_PARTS
    )
    return tuple(Site(level=level, path=path, index=index, part=part) for part in parts)


# MODULE: attention and MLP outputs before their gates.


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
        ) -> tuple[Tensor, Tensor]:
            if not router.is_reused(img_attn, txt_attn):
                dims = {
                    "modulation_dims_img": modulation_dims_img,
                    "modulation_dims_txt": modulation_dims_txt,
                }
                given: Any = router.timed(
                    (img_attn, txt_attn), lambda: original(img, txt, vec, pe, attn_mask, **dims, **kwargs)
                )
                return given[0], given[1]
            img_mods, txt_mods = (block.img_mod(vec), block.txt_mod(vec)) if block.modulation else vec
            img_branch = _Branch(block.img_norm2, block.img_mlp, img_mods, modulation_dims_img)
            txt_branch = _Branch(block.txt_norm2, block.txt_mlp, txt_mods, modulation_dims_txt)
            img = img_branch.replay(img, img_attn, img_mlp, router)
            return img, _bounded(txt_branch.replay(txt, txt_attn, txt_mlp, router))

        return forward

    yield leaf(block.img_attn.proj, img_attn, router)
    yield leaf(block.txt_attn.proj, txt_attn, router)
    yield leaf(block.img_mlp, img_mlp, router)
    yield leaf(block.txt_mlp, txt_mlp, router)
    yield ForwardPatch(block, wrap)


class _Branch:
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
        ) -> Tensor:
            if not router.is_reused(site):
                kwargs["modulation_dims"] = modulation_dims
                computed: Tensor = router.timed((site,), lambda: original(x, vec, pe, attn_mask, **kwargs))
                return computed
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


# BLOCK: what one block adds to its streams. Blocks write in place, so the streams are copied before they run.


def _block_patch(block: nn.Module, site: Site, router: Router) -> ForwardPatch:
    def wrap(original: Forward) -> Forward:
        def double(img: Tensor, txt: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
            return _residual(router, site, (img, txt), lambda: original(img, txt, *args, **kwargs))

        def single(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return _residual(router, site, (x,), lambda: (original(x, *args, **kwargs),))[0]

        return double if site.path == "double_blocks" else single

    return ForwardPatch(block, wrap)


def _residual(router: Router, site: Site, entered: tuple[Tensor, ...], compute: Any) -> tuple[Tensor, ...]:
    if router.is_reused(site):
        return _added(entered, router.recall(site))
    entered = tuple(stream.clone() for stream in entered)
    left: tuple[Tensor, ...] = router.timed((site,), compute)
    residual = tuple(after - before for before, after in zip(entered, left, strict=True))
    settled = router.settle(site, residual)
    return left if settled is residual else _added(entered, settled)


def _added(streams: tuple[Tensor, ...], residual: Feature) -> tuple[Tensor, ...]:
    return tuple(stream + change for stream, change in zip(streams, residual, strict=True))


# STACK: what all blocks together add to the image tokens.


def _stack_patches(network: nn.Module, router: Router) -> Iterator[ForwardPatch]:
    blocks = list(_blocks(network))
    stack = _Stack(router)
    for position, (path, _, block) in enumerate(blocks):
        first, last = position == 0, position == len(blocks) - 1
        yield ForwardPatch(
            block, stack.double(first, last) if path == "double_blocks" else stack.single(first, last)
        )


class _Stack:
    """One pass through all blocks: the image tokens are kept where they enter and settled where they leave.

    Control residuals are added between the blocks by the host, also where the blocks are skipped; starting
    again from the tokens that entered keeps them from being counted twice.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._entered: Tensor | None = None

    def double(self, first: bool, last: bool) -> Any:
        def wrap(original: Forward) -> Forward:
            def forward(img: Tensor, txt: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
                if first:
                    self._entered = img.clone()
                img, txt = self._run((img, txt), lambda: original(img, txt, *args, **kwargs))
                return (self._settled(img), txt) if last else (img, txt)

            return forward

        return wrap

    def single(self, first: bool, last: bool) -> Any:
        def wrap(original: Forward) -> Forward:
            def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                if first:
                    self._entered = x.clone()
                x = self._run(x, lambda: original(x, *args, **kwargs))
                return self._leave(x) if last else x

            return forward

        return wrap

    def _run(self, streams: Any, compute: Any) -> Any:
        if self._router.is_reused(STACK_SITE):
            self._router.promise(STACK_SITE)
            return streams
        return self._router.timed((STACK_SITE,), compute)

    def _leave(self, x: Tensor) -> Tensor:
        if self._entered is None:
            return x
        tokens = self._entered.shape[1]
        img = x[:, -tokens:]
        settled = self._settled(img)
        return x if settled is img else torch.cat((x[:, :-tokens], settled), dim=1)

    def _settled(self, img: Tensor) -> Tensor:
        """Return the image tokens that leave; unchanged where another node took the first block's place."""
        if self._entered is None:
            return img
        if self._router.is_reused(STACK_SITE):
            return self._entered + self._router.recall(STACK_SITE)[0]
        residual = (img - self._entered,)
        settled = self._router.settle(STACK_SITE, residual)
        return img if settled is residual else self._entered + settled[0]

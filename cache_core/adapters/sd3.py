"""Stable Diffusion 3 and 3.5: joint blocks over text and image tokens.

Shapes: B batch, N image tokens, M text tokens, D width. `context` is (B, M, D), `x` (B, N, D), the modulation
input `c` (B, D). A joint block holds a block for each stream; both attend jointly. In the last one the text
stream only gives keys and values (`pre_only`) and ends. Some image blocks of SD3.5-medium have a second,
image-only attention (`attn2`).
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

PATH = "joint_blocks"
STACK_SITE = Site(level=Level.STACK, path=PATH, index=0, part="residual")
LEAVES = {
    "txt_attn": "context_block.attn.proj",
    "txt_mlp": "context_block.mlp",
    "img_attn": "x_block.attn.proj",
    "img_attn2": "x_block.attn2.proj",
    "img_mlp": "x_block.mlp",
}
"""The parts of a joint block, and the sub-module whose output is the feature."""


@ADAPTERS.register
class SD3Adapter(Adapter):
    """Features of `OpenAISignatureMMDITWrapper`, the host's network for SD3 and SD3.5."""

    name = "sd3"
    classes = ("comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",)

    @classmethod
    def check(cls, network: nn.Module) -> list[str]:
        """Return what the network's blocks lack."""
        if not isinstance(getattr(network, PATH, None), nn.ModuleList):
            return [f"it has no list '{PATH}'"]
        faults = []
        for index, block in _blocks(network):
            where = f"{PATH}.{index}"
            faults += missing_parts(
                block, where, ("context_block.attn", "x_block.attn.proj", "x_block.mlp"), ()
            )
            halves = (getattr(block, "context_block", None), getattr(block, "x_block", None))
            if any(getattr(half, "scale_mod_only", True) for half in halves):
                faults.append(f"{where} is modulated without shifts")
        return faults

    def block_sites(self, level: Level) -> tuple[Site, ...]:
        """Return the sites of a level in the order they run."""
        if level is Level.STACK:
            return (STACK_SITE,)
        return tuple(
            site for index, block in _blocks(self.network) for site in _sites(level, index, block).values()
        )

    def block_patches(self, level: Level, router: Router) -> Iterator[ForwardPatch]:
        """Return the forward replacements that route one pass at `level` through `router`."""
        blocks = list(_blocks(self.network))
        stack = Stack(STACK_SITE, router)
        for index, block in blocks:
            if level is Level.STACK:
                yield stack.patch(block, _streams(block), first=index == 0, last=index == len(blocks) - 1)
            elif level is Level.BLOCK:
                yield residual_patch(block, _sites(level, index, block)["residual"], router, _streams(block))
            else:
                yield from _module_patches(block, _sites(level, index, block), router)


def _blocks(network: nn.Module) -> Iterator[tuple[int, Any]]:
    yield from enumerate(network.get_submodule(PATH).children())


def _streams(block: Any) -> Streams:
    dropped = frozenset({"context"} if block.context_block.pre_only else ())
    return Streams(names=("context", "x"), image="x", dropped=dropped)


def _sites(level: Level, index: int, block: Any) -> dict[str, Site]:
    if level is Level.BLOCK:
        parts = ["residual"]
    else:
        text = () if block.context_block.pre_only else ("txt_attn", "txt_mlp")
        dual = ("img_attn2",) if block.x_block.x_block_self_attn else ()
        parts = [*text, "img_attn", *dual, "img_mlp"]
    return {part: Site(level=level, path=PATH, index=index, part=part) for part in parts}


def _module_patches(block: Any, sites: dict[str, Site], router: Router) -> Iterator[ForwardPatch]:
    attention = tuple(site for part, site in sites.items() if "attn" in part)

    def wrap(original: Forward) -> Forward:
        def forward(context: Tensor, x: Tensor, c: Tensor, **kwargs: Any) -> Any:
            if not router.is_reused(*attention):
                return router.timed(attention, lambda: original(context, x, c=c, **kwargs))
            text = (
                None
                if block.context_block.pre_only
                else _replay_text(block.context_block, context, c, sites, router)
            )
            return text, _replay_image(block.x_block, x, c, sites, router)

        return forward

    for part, site in sites.items():
        yield leaf(block.get_submodule(LEAVES[part]), site, router)
    yield ForwardPatch(block, wrap)


def _replay_text(half: Any, context: Tensor, c: Tensor, sites: dict[str, Site], router: Router) -> Tensor:
    _, _, gate_attn, *mlp_mods = half.adaLN_modulation(c).chunk(6, dim=1)
    context = context + gate_attn.unsqueeze(1) * router.recall(sites["txt_attn"])[0]
    return _replay_mlp(half, context, mlp_mods, sites["txt_mlp"], router)


def _replay_image(half: Any, x: Tensor, c: Tensor, sites: dict[str, Site], router: Router) -> Tensor:
    dual = "img_attn2" in sites
    mods = half.adaLN_modulation(c).chunk(9 if dual else 6, dim=1)
    gated = mods[2].unsqueeze(1) * router.recall(sites["img_attn"])[0]
    if dual:
        second = mods[8].unsqueeze(1) * router.recall(sites["img_attn2"])[0]
        # Summed as the host sums them, so that the rounding is the same.
        x = torch.stack([x, gated, second], dim=0).sum(dim=0)
    else:
        x = x + gated
    return _replay_mlp(half, x, mods[3:6], sites["img_mlp"], router)


def _replay_mlp(half: Any, stream: Tensor, mods: Any, site: Site, router: Router) -> Tensor:
    shift, scale, gate = (mod.unsqueeze(1) for mod in mods)
    if router.is_reused(site):
        feature = router.recall(site)[0]
    else:
        feature = half.mlp(torch.addcmul(shift, half.norm2(stream), 1 + scale))
    gated: Tensor = gate * feature
    return stream + gated

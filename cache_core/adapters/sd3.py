"""Stable Diffusion 3 and 3.5: joint blocks over text and image tokens.

Shapes: B batch, N image tokens, M text tokens, D width. `context` is (B, M, D), `x` (B, N, D), the modulation
input `c` (B, D). A joint block holds a block for each stream; both attend jointly. In the last one the text
stream only gives keys and values (`pre_only`) and ends. Some image blocks of SD3.5-medium have a second,
image-only attention (`attn2`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..adapter import ADAPTERS, Router, leaf, missing_parts
from ..blocks import Block, BlockAdapter
from ..scope import Forward, ForwardPatch
from ..streams import Streams
from ..types import Site

LEAVES = {
    "txt_attn": "context_block.attn.proj",
    "txt_mlp": "context_block.mlp",
    "img_attn": "x_block.attn.proj",
    "img_attn2": "x_block.attn2.proj",
    "img_mlp": "x_block.mlp",
}
"""The parts of a joint block, and the sub-module whose output is the feature."""


@ADAPTERS.register
class SD3Adapter(BlockAdapter):
    """Features of `OpenAISignatureMMDITWrapper`, the host's network for SD3 and SD3.5."""

    name = "sd3"
    classes = ("comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",)
    lists = ("joint_blocks",)
    timestep_embedder = "t_embedder"

    @classmethod
    def faults(cls, block: Block) -> list[str]:
        """Return what a block lacks."""
        names = ["context_block.attn", "x_block.norm1"]
        for name in ("context_block", "x_block"):
            half = getattr(block.module, name, None)
            if not getattr(half, "pre_only", False):
                names += [f"{name}.{part}" for part in ("attn.proj", "norm2", "mlp", "adaLN_modulation")]
            if getattr(half, "x_block_self_attn", False):
                names.append(f"{name}.attn2.proj")
        faults = missing_parts(block.module, str(block), names, ())
        halves = (getattr(block.module, name, None) for name in ("context_block", "x_block"))
        if any(getattr(half, "scale_mod_only", True) for half in halves):
            faults.append(f"{block} is modulated without shifts")
        return faults

    @property
    def patch_size(self) -> int:
        """Latent pixels along one edge of a token."""
        return int(self.network.x_embedder.patch_size[0])  # type: ignore[union-attr,index]

    def streams(self, block: Block) -> Streams:
        """Return the token streams that pass through a block."""
        dropped = frozenset({"context"} if block.module.context_block.pre_only else ())
        return Streams(names=("context", "x"), image="x", dropped=dropped)

    def parts(self, block: Block) -> tuple[str, ...]:
        """Return the parts of a block at level MODULE."""
        text = () if block.module.context_block.pre_only else ("txt_attn", "txt_mlp")
        dual = ("img_attn2",) if block.module.x_block.x_block_self_attn else ()
        return (*text, "img_attn", *dual, "img_mlp")

    def module_patches(
        self, block: Block, sites: Mapping[str, Site], router: Router
    ) -> Iterator[ForwardPatch]:
        """Return the forward replacements of one block at level MODULE."""
        attention = tuple(site for part, site in sites.items() if "attn" in part)
        text, image = block.module.context_block, block.module.x_block

        def wrap(original: Forward) -> Forward:
            def forward(context: Tensor, x: Tensor, c: Tensor, **kwargs: Any) -> Any:
                if not router.is_reused(*attention):
                    return router.timed(attention, lambda: original(context, x, c=c, **kwargs))
                left = None if text.pre_only else _replay_text(text, context, c, sites, router)
                return left, _replay_image(image, x, c, sites, router)

            return forward

        for part, site in sites.items():
            yield leaf(block.module.get_submodule(LEAVES[part]), site, router)
        yield ForwardPatch(block.module, wrap)

    def modulated_input(self, block: Block) -> Callable[..., Tensor]:
        """Return a function that takes the block's arguments and makes the image tokens its attention sees."""
        half = block.module.x_block

        def read(context: Tensor, x: Tensor, c: Tensor, **kwargs: Any) -> Tensor:
            shift, scale, *_ = half.adaLN_modulation(c).unsqueeze(1).split(x.shape[-1], dim=-1)
            return torch.addcmul(shift, half.norm1(x), 1 + scale)

        return read


def _replay_text(half: Any, context: Tensor, c: Tensor, sites: Mapping[str, Site], router: Router) -> Tensor:
    _, _, gate_attn, *mlp_mods = half.adaLN_modulation(c).chunk(6, dim=1)
    context = context + gate_attn.unsqueeze(1) * router.recall(sites["txt_attn"])[0]
    return _replay_mlp(half, context, mlp_mods, sites["txt_mlp"], router)


def _replay_image(half: Any, x: Tensor, c: Tensor, sites: Mapping[str, Site], router: Router) -> Tensor:
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

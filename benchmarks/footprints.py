"""What a method holds on the published models, foreseen by `cache_core.footprint` without their weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published network and how a picture of 1024 x 1024 is made with it.

    Attributes:
        title: Its name.
        family: The adapter's name.
        width: Numbers per token.
        blocks: In the order they run: name of the list, index in it, parts at level MODULE.
        channels: Of the latent, which is 128 x 128.
        text: Text tokens of a prompt.
        cfg: Guidance that is computed; 1 is one branch, above it there are two.
    """

    title: str
    family: str
    width: int
    blocks: tuple[tuple[str, int, tuple[str, ...]], ...]
    channels: int
    text: int
    cfg: float

    @property
    def num_branches(self) -> int:
        """Branches whose features are held."""
        return 1 if self.cfg == 1 else 2

    def stand_in(self, core: Any) -> Any:
        """Return what `foresee` asks of an adapter: its family's own counting over this network's sites."""
        published = self

        class StandIn(core.ADAPTERS[self.family]):  # type: ignore[misc]
            name, patch_size, width = published.family, 2, published.width

            def __init__(self) -> None:
                """Bind to no network: there are no weights."""

            def block_sites(self, level: Any) -> tuple[Any, ...]:
                """Return the sites that the published network has."""
                return (
                    super().block_sites(level)
                    if level is core.Level.STACK
                    else tuple(published._sites(core, level))
                )

        return StandIn()

    def _sites(self, core: Any, level: Any) -> Iterator[Any]:
        for path, index, parts in self.blocks:
            for part in parts if level is core.Level.MODULE else ("residual",):
                yield core.Site(level=level, path=path, index=index, part=part)


def _list(path: str, count: int, *parts: str) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    return tuple((path, index, parts) for index in range(count))


FLUX = Published(
    title="FLUX.1-dev",
    family="flux",
    width=3072,
    blocks=_list("double_blocks", 19, "img_attn", "txt_attn", "img_mlp", "txt_mlp")
    + _list("single_blocks", 38, "attn_mlp"),
    channels=16,
    text=512,
    cfg=1.0,
)

# The text stream ends in the last block.
SD3 = Published(
    title="SD3.5-large",
    family="sd3",
    width=2432,
    blocks=(
        *_list("joint_blocks", 37, "txt_attn", "txt_mlp", "img_attn", "img_mlp"),
        ("joint_blocks", 37, ("img_attn", "img_mlp")),
    ),
    channels=16,
    text=154,
    cfg=4.0,
)

PIXART = Published(
    title="PixArt-Sigma",
    family="pixart",
    width=1152,
    blocks=_list("blocks", 28, "attn", "cross_attn", "mlp"),
    channels=4,
    text=300,
    cfg=4.5,
)

PUBLISHED = (FLUX, SD3, PIXART)


def held_bytes(core: Any, network: Published, policy: Any) -> int:
    """Return the bytes that a run of `policy` holds, at bfloat16 and without a budget."""
    extent = core.Extent(latent=(1, network.channels, 128, 128), text=network.text, dtype=torch.bfloat16)
    branches = [extent] * network.num_branches
    cpu = torch.device("cpu")
    return int(core.foresee(network.stand_in(core), policy, core.Residence(), branches, cpu).held_bytes)


def memory_table(core: Any, policies: dict[str, Any]) -> str:
    """Return a row per network, a column per level: what each policy of `policies`, named by its level, holds."""
    head = "| 1024 x 1024, bfloat16 | branches | " + " | ".join(f"`{level}`" for level in policies) + " |"
    lines = [head, "|---|--:|" + "--:|" * len(policies)]
    for network in PUBLISHED:
        cells = [_megabytes(held_bytes(core, network, policy)) for policy in policies.values()]
        title = f"{network.title}, {network.text} text tokens, cfg {network.cfg:g}"
        lines.append(f"| {title} | {network.num_branches} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _megabytes(num_bytes: int) -> str:
    size = num_bytes / MEGABYTE
    return f"{size:,.0f} MB" if size >= 10 else f"{size:.1f} MB"

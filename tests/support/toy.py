"""A toy transformer whose numbers can be done in the head, and its adapter: the core's tests need no host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dynamic
import torch
from torch import Tensor, nn

import cache_core
from cache_core import Lane, Level, Site
from cache_core.adapter import Router, leaf


class Doubling(nn.Module):
    """Returns twice its input, and counts how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.num_runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_runs += 1
        return x * 2


class ToyBlock(nn.Module):
    """Adds twice its input to its stream, in place as the real blocks do: the stream triples."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = Doubling()

    def forward(self, x: Tensor) -> Tensor:
        x += self.mlp(x)
        return x


class ToyDiT(nn.Module):
    """`num_blocks` blocks one after the other."""

    def __init__(self, num_blocks: int = 2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ToyBlock() for _ in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        for block in self.blocks:
            x = block(x)
        return x

    @property
    def num_runs(self) -> int:
        """How often the MLPs ran in all."""
        return sum(block.mlp.num_runs for block in self.blocks)  # type: ignore[union-attr,misc]


@cache_core.ADAPTERS.register
class ToyAdapter(cache_core.Adapter):
    """The MLP output of every block."""

    name = "toy"
    classes = ("toy.ToyDiT",)

    @classmethod
    def check(cls, network: nn.Module) -> list[str]:
        return [] if hasattr(network, "blocks") else ["it has no list 'blocks'"]

    @property
    def patch_size(self) -> int:
        return 1

    def block_sites(self, level: Level) -> tuple[Site, ...]:
        blocks: Any = self.network.blocks
        return tuple(Site(level=level, path="blocks", index=i, part="mlp") for i in range(len(blocks)))

    def block_patches(self, level: Level, router: Router) -> Iterator[cache_core.ForwardPatch]:
        for site, block in zip(self.block_sites(level), self.network.blocks, strict=True):  # type: ignore[arg-type]
            yield leaf(block.mlp, site, router)


def lane(name: str = "cond", **changes: Any) -> Lane:
    """Return a lane for a branch called `name`."""
    parts: dict[str, Any] = {
        "variant": 0,
        "shape": (1, 1),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
    }
    return Lane(branch=name, **(parts | changes))


def open_session(policy: cache_core.Policy, steps: int = 4, **options: Any) -> cache_core.CacheSession:
    """Return a session on a schedule of `steps` equal steps with one call each."""
    sigmas = tuple(1 - i / steps for i in range(steps + 1))
    run = cache_core.Run(sigmas=sigmas, sampler="toy", call_steps=tuple(range(steps)), **options)
    return cache_core.CacheSession(policy, run, torch.device("cpu"))


def call(
    session: cache_core.CacheSession,
    network: nn.Module,
    x: Tensor,
    lanes: Sequence[Lane],
    sigma: float = 0.5,
) -> Tensor:
    """Make one call of one pass and return the network's output."""
    with (
        session.open_call(sigma),
        session.open_pass(network, lanes) as opened,
        cache_core.scoped_forwards(opened.patches),
    ):
        result: Tensor = network(x)
        return result


def fora(**settings: Any) -> cache_core.Policy:
    """Return a FORA policy."""
    policy = cache_core.POLICIES["fora"]
    return policy(policy.config_type(**settings))


Threshold, FromComputed = dynamic.threshold_types(cache_core)


def threshold(cls: Any = Threshold, **settings: Any) -> Any:
    """Return a dynamic policy that looks at the network's input."""
    return cls(cls.config_type(**settings))

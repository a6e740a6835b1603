"""A toy network that can be trained on, and a sampler for it: the tests of training need no host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cache_core import Call, Lane, Run, Site, scoped_forwards
from cache_core.adapter import ADAPTERS, Router, leaf
from cache_core.blocks import Block, BlockAdapter
from cache_core.scope import ForwardPatch
from cache_core.streams import Streams
from cache_core.training.method import Lesson
from cache_core.training.trajectory import Draw, Draws, Handler

WIDTH = 4


class PupilBlock(nn.Module):
    """Norm, two branches, added in place as the host's blocks do: an ordinary backward pass through it fails."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.attn, self.mlp = (nn.Linear(WIDTH, WIDTH) for _ in range(2))
        for layer in (self.attn, self.mlp):
            layer.weight = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator))
            layer.bias = nn.Parameter(torch.randn(WIDTH, generator=generator))

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        x += gate * torch.tanh(self.attn(nn.functional.layer_norm(x, (WIDTH,))))
        x += gate * self.mlp(nn.functional.layer_norm(x, (WIDTH,)))
        return x


class Pupil(nn.Module):
    """Maps tokens (B, N, WIDTH), a noise level and a prompt () to a velocity of the tokens' shape."""

    hidden_size = WIDTH

    def __init__(self, num_blocks: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.blocks = nn.ModuleList(PupilBlock(generator) for _ in range(num_blocks))

    def forward(self, x: Tensor, sigma: float, prompt: float) -> Tensor:
        gate, x = torch.full((WIDTH,), 0.3 + sigma), x + prompt
        for block in self.blocks:
            x = block(x, gate=gate)
        return x


@ADAPTERS.register
class PupilAdapter(BlockAdapter):
    """Features of the pupil."""

    name = "pupil"
    classes: ClassVar[tuple[str, ...]] = (f"{Pupil.__module__}.{Pupil.__qualname__}",)
    lists = ("blocks",)
    timestep_embedder = None
    patch_size = 1  # type: ignore[assignment]

    @classmethod
    def faults(cls, block: Block) -> list[str]:
        return []

    def streams(self, block: Block) -> Streams:
        return Streams(names=("x",), image="x")

    def parts(self, block: Block) -> tuple[str, ...]:
        return ("attn", "mlp")

    def module_patches(
        self, block: Block, sites: Mapping[str, Site], router: Router
    ) -> Iterator[ForwardPatch]:
        for part, site in sites.items():
            yield leaf(block.module.get_submodule(part), site, router)

    def modulated_input(self, block: Block) -> Any:
        return lambda x, *args, **kwargs: x


def lane(x: Tensor) -> Lane:
    """Return the one lane of a batch."""
    return Lane(branch="prompt", variant=0, shape=tuple(x.shape), dtype=x.dtype, device=x.device)


class Euler:
    """Euler's sampler on a flow from pure noise, for one prompt or several."""

    def __init__(self, network: nn.Module, steps: int, *, prompts: int = 1, clean: bool = False) -> None:
        self.network, self.num_prompts, self.has_clean = network, prompts, clean
        sigmas = tuple(1 - i / steps for i in range(steps + 1))
        self.run = Run(sigmas=sigmas, sampler="euler", call_steps=tuple(range(steps)))
        self.drawn: list[Draw] = []

    def sample(self, draw: Draw, handle: Handler) -> Tensor:
        self.drawn.append(draw)
        x = self.start(draw)
        with torch.no_grad():
            for index, step in enumerate(range(self.run.num_steps)[draw.first : draw.stop]):
                sigma, later = self.run.sigmas[step : step + 2]
                call = Call(index=index, step=step, sigma=sigma, run=self.run)
                picture = handle(call, lambda s, x=x, sigma=sigma: self.predict(s, x, sigma, draw.prompt))
                x = x + (later - sigma) * (x - picture) / sigma
        return x

    def start(self, draw: Draw) -> Tensor:
        noise = torch.cat([noise_of(seed) for seed in draw.seeds])
        return self.run.sigmas[draw.first] * noise

    def predict(self, session: Any, x: Tensor, sigma: float, prompt: int) -> Tensor:
        """Return the predicted picture, with the pass routed through `session`."""
        with (
            session.open_pass(self.network, [lane(x)]) as opened,
            scoped_forwards(opened.patches),
        ):
            return x - sigma * self.network(x, sigma, float(prompt))


def noise_of(seed: int) -> Tensor:
    """Return the noise (1, 2, WIDTH) of one picture."""
    return torch.randn(1, 2, WIDTH, generator=torch.Generator().manual_seed(seed))


def lesson(
    steps: int = 4,
    *,
    batch: int = 1,
    seed: int = 0,
    prompts: int = 1,
    clean: bool = False,
    rank: int = 0,
    world: int = 1,
    recompute: bool = True,
    blocks: int = 3,
) -> Lesson:
    """Return a lesson on a new pupil, whose weights are the same every time."""
    network = Pupil(blocks)
    return Lesson(
        adapter=PupilAdapter(network),
        trajectory=Euler(network, steps, prompts=prompts, clean=clean),
        draws=Draws(seed=seed, batch=batch, num_prompts=prompts, rank=rank, world=world),
        device=torch.device("cpu"),
        recompute=recompute,
    )

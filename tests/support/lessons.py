"""A toy network that can be trained on, and a sampler for it: the tests of training need no host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cache_core import (
    Artefact,
    Call,
    CallReport,
    Kind,
    Lane,
    Level,
    MemoryReport,
    Policy,
    Run,
    RunReport,
    Sampling,
    Site,
    fingerprint,
    scoped_forwards,
)
from cache_core.adapter import ADAPTERS, Router, leaf
from cache_core.blocks import Block, BlockAdapter
from cache_core.scope import ForwardPatch
from cache_core.streams import Streams
from cache_core.training.method import TRAININGS, Lesson, Training
from cache_core.training.trajectory import Draw, Draws, Handler

WIDTH = 4

NEGATIVE, GUIDANCE = -1, 2.0


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
    """Maps tokens (B, N, WIDTH), a noise level and a prompt, a number or (B, 1, 1), to a velocity of the tokens' shape."""

    hidden_size = WIDTH

    def __init__(self, num_blocks: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.blocks = nn.ModuleList(PupilBlock(generator) for _ in range(num_blocks))

    def forward(self, x: Tensor, sigma: float, prompt: float | Tensor) -> Tensor:
        gate, x = torch.full((WIDTH,), 0.3 + sigma, dtype=x.dtype), x + prompt
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


def lane(x: Tensor, branch: int = 0) -> Lane:
    """Return the lane of the pictures of one branch."""
    return Lane(branch=branch, variant=0, shape=tuple(x.shape), dtype=x.dtype, device=x.device)


class Euler:
    """Euler's sampler on a flow from pure noise, for one prompt or several."""

    def __init__(
        self, network: nn.Module, steps: int, *, prompts: int = 1, clean: bool = False, passes: int = 0
    ) -> None:
        """Guide by a negative prompt in one pass or two, or not at all."""
        self.network, self.num_prompts, self.has_clean, self.passes = network, prompts, clean, passes
        sigmas = tuple(1 - i / steps for i in range(steps + 1))
        self.run = Run(sigmas=sigmas, sampler="euler", call_steps=tuple(range(steps)))
        self.drawn: list[Draw] = []
        self.seconds = {"attn": 1.0, "mlp": 3.0}
        self.call_seconds = 5.0 * len(network.blocks)
        self.num_timed = 0

    def timed(self, draw: Draw, policy: Policy) -> RunReport:
        """Return the report of a run by a made-up clock, the same for every call: seconds of parts, alone or "a+b"."""
        self.num_timed += 1
        blocks = range(len(self.network.blocks))
        pieces = [
            tuple(f"blocks.{i}.{name}" for name in part.split("+")) for i in blocks for part in self.seconds
        ]
        work = [seconds for _ in blocks for seconds in self.seconds.values()]
        return report_of(self.run, pieces, [(self.call_seconds, work)] * self.run.num_steps)

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
        noise = torch.cat([noise_of(seed) for seed in draw.seeds]).to(
            self.network.blocks[0].attn.weight.dtype
        )
        return self.run.sigmas[draw.first] * noise

    def predict(self, session: Any, x: Tensor, sigma: float, prompt: int) -> Tensor:
        """Return the predicted picture, with the passes routed through `session`."""
        if not self.passes:
            return x - sigma * self.velocity(session, x, sigma, [prompt])
        if self.passes == 1:
            both = self.velocity(session, torch.cat((x, x)), sigma, [prompt, NEGATIVE]).chunk(2)
        else:
            both = tuple(self.velocity(session, x, sigma, [branch]) for branch in (prompt, NEGATIVE))
        return x - sigma * (both[1] + GUIDANCE * (both[0] - both[1]))

    def velocity(self, session: Any, x: Tensor, sigma: float, prompts: list[int]) -> Tensor:
        """Return what the network makes of one pass, which carries as many branches as there are prompts."""
        lanes = [lane(part, prompt) for part, prompt in zip(x.chunk(len(prompts)), prompts, strict=True)]
        meant = torch.tensor(prompts, dtype=x.dtype).repeat_interleave(len(x) // len(prompts))
        with session.open_pass(self.network, lanes) as opened, scoped_forwards(opened.patches):
            velocity: Tensor = self.network(x, sigma, 0.3 * meant[:, None, None])
            return velocity


def report_of(
    run: Run, pieces: Sequence[tuple[str, ...]], calls: Sequence[tuple[float, Sequence[float]]]
) -> RunReport:
    """Return the report of an uncached run whose calls, and each piece of their work, took so many seconds."""
    rows = [
        CallReport(index=i, step=i, sigma=1.0, seconds=s, computed=(1,), reused=(0,), work=tuple(work))
        for i, (s, work) in enumerate(calls)
    ]
    return RunReport(
        method="learning_to_cache",
        settings="",
        level="module",
        family="pupil",
        sampler=run.sampler,
        num_steps=run.num_steps,
        sites=tuple(dict.fromkeys(name for names in pieces for name in names)),
        calls=tuple(rows),
        total_work=sum(sum(work) for _, work in calls),
        saved_work=0.0,
        seconds=sum(seconds for seconds, _ in calls),
        memory=MemoryReport(),
        pieces=tuple(pieces),
    )


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
    passes: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Lesson:
    """Return a lesson on a new pupil, whose weights are the same every time."""
    network = Pupil(blocks).to(dtype)
    return Lesson(
        adapter=PupilAdapter(network),
        trajectory=Euler(network, steps, prompts=prompts, clean=clean, passes=passes),
        dtype=dtype,
        draws=Draws(seed=seed, batch=batch, num_prompts=prompts, rank=rank, world=world),
        device=torch.device("cpu"),
        recompute=recompute,
    )


def profile(lesson: Lesson, steps: int = 4, reused: Sequence[int] | None = None) -> Artefact:
    """Return a change profile by which every second step reuses all blocks, or those of some numbers."""
    sites = lesson.adapter.sites(Level.BLOCK)
    change = torch.full((steps, len(sites)), 9.0)
    change[1::2, list(range(len(sites)) if reused is None else reused)] = 0.001
    return Artefact(
        kind=Kind.PROFILE,
        method="block_caching",
        architecture=fingerprint(lesson.adapter, Level.BLOCK),
        sampling=Sampling(num_steps=steps, sigmas=lesson.trajectory.run.sigmas),
        tensors={"profile": change},
    )


def training(name: str, given: Lesson, **settings: Any) -> Training:
    """Return a training of any method."""
    cls = TRAININGS[name]
    own: dict[str, dict[str, Any]] = {
        "harmonica": {"proxy_every": 2},
        "scale_shift": {"profile": profile(given)},
    }
    return cls(cls.config_type(**own.get(name, {}), **settings), given)

"""What is drawn: cells of sampler, steps and guidance over the same seeds and held-out captions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zoo.sampling import Request
from zoo.scenes import Scene, caption, sample_scene

SAMPLERS = ("euler", "dpmpp_2m", "heun")
STEPS = (4, 6, 8, 10, 15, 20, 30, 50)
CFG = 4.0


@dataclass(frozen=True)
class Cell:
    """One way to sample."""

    sampler: str
    steps: int
    cfg: float = CFG

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.sampler}_{self.steps}_cfg{self.cfg:g}"

    @property
    def num_calls(self) -> int:
        """Evaluations of the model; Heun's last step takes one, its others two."""
        return 2 * self.steps - 1 if self.sampler == "heun" else self.steps

    @property
    def num_passes(self) -> int:
        """Forward passes per picture; without guidance the host leaves the empty caption out."""
        return self.num_calls * (1 if self.cfg == 1.0 else 2)


HEADLINE = Cell("euler", 20)
FEWER = Cell("euler", 10)
UNGUIDED = Cell("euler", 20, 1.0)


def finest(cell: Cell) -> Cell:
    """The run with most steps of the same sampler and guidance."""
    return Cell(cell.sampler, STEPS[-1], cell.cfg)


def grid(steps: Iterable[int] = STEPS, samplers: Iterable[str] = SAMPLERS) -> tuple[Cell, ...]:
    """All cells of a study, those that others are compared with first."""
    cells = [Cell(sampler, number) for sampler in samplers for number in steps]
    first = [HEADLINE, *(finest(cell) for cell in cells)]
    return tuple(dict.fromkeys([*first, *cells, UNGUIDED]))


def scene_of(seed: int) -> Scene:
    """The held-out scene whose caption a seed draws: seed i has scene i of generator seed 0."""
    return sample_scene(0, seed, "held-out")


def requests(cell: Cell, seeds: Iterable[int]) -> list[Request]:
    """What to ask the host's sampler for."""
    return [
        Request(
            caption=caption(scene_of(seed)), seed=seed, steps=cell.steps, cfg=cell.cfg, sampler=cell.sampler
        )
        for seed in seeds
    ]

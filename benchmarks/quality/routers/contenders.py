"""What is compared: trained routers, and what they must beat, as cells; a file that is not there yet has none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from zoo.train_routers import REUSED, SCALE_SHIFT, SCALE_SHIFT_REUSED, Lesson

from ..cells import Cell, fewer, on, uncached, windowed
from ..trained import RANDOM, REVERSED, UNADJUSTED

TITLES = {"learning_to_cache": "Learning-to-Cache", "harmonica": "HarmoniCa"}
WINDOWS = {15: (2, 6, False), 20: (2, 8, True), 25: (2, 10, False), 40: (2, 16, True), 55: (3, 17, True)}
"""By percent cached, FORA's interval, the first step from which on all are full, and whether it is drawn for a distance."""
PROBED = (("learning_to_cache", 22), ("learning_to_cache", 40), ("harmonica", 40))
"""Routers that must beat random ones of their cost and themselves with their steps reversed."""
CORRECTED = ("learning_to_cache", 22)
"""The router that corrections come on top of."""
NUM_RANDOM, NUM_QUICK, RANDOM_SEEDS = 20, 2, 8
"""Random routers of each cost, as many in a quick run, and the pictures that each draws."""
_NEIGHBOURS = {15: 15, 22: 20, 25: 25, 40: 40, 55: 55}
"""By a router's percent the window of FORA that it is compared with."""


def lessons_of(model: str) -> list[Lesson]:
    """Return all trained files of a model that the benchmark uses, by rising share of reuse; scale and shift last."""
    routers = [Lesson(model, method, reused) for method in REUSED for reused in REUSED[method]]
    routers.sort(key=lambda one: one.reused)
    return [*routers, Lesson(model, SCALE_SHIFT, SCALE_SHIFT_REUSED)]


def router_cells(model: str, there: Collection[str], num_random: int = NUM_RANDOM) -> tuple[Cell, ...]:
    """Return everything that a family's routers are measured with, the uncached run first.

    Args:
        model: Name of the family.
        there: Names of the trained files that there are, without suffix.
        num_random: How many random routers of each cost.
    """
    found = [uncached(), *fewer()]
    for lesson in lessons_of(model):
        if lesson.name in there:
            found += _adjusted(lesson) if lesson.method == SCALE_SHIFT else _routed(lesson, num_random)
    found += [
        windowed(reuse, interval, until, is_headline=is_headline)
        for reuse, (interval, until, is_headline) in WINDOWS.items()
    ]
    return tuple(found)


def router_name(method: str, reused: int) -> str:
    """Name of the cell of a trained router."""
    return f"{method}_{reused}_trained"


def random_names(method: str, reused: int, num_random: int = NUM_RANDOM) -> list[str]:
    """Names of the cells of the random routers of a trained one's cost."""
    return [f"{method}_{reused}_{RANDOM}_{seed}" for seed in range(num_random)]


def _routed(lesson: Lesson, num_random: int) -> Iterator[Cell]:
    asked = lesson.method, lesson.reused
    trained = Cell(
        name=router_name(*asked),
        label=f"{TITLES[lesson.method]}, trained, {lesson.reused} % reuse",
        method=lesson.method,
        artefact=lesson.name,
        is_headline=True,
        share=1 - lesson.reused / 100,
    )
    yield trained
    if asked == CORRECTED:
        yield on(trained, "error_optimized", "EOC", "prior", is_headline=True)
        yield on(trained, "gradient_optimized", "GOC", is_headline=True)
    if asked in PROBED:
        name, label = f"{lesson.method}_{lesson.reused}_{REVERSED}", f"{trained.label}, steps reversed"
        yield replace(trained, name=name, label=label, variant=REVERSED, is_headline=False)
        for seed, name in enumerate(random_names(*asked, num_random)):
            label = f"random router, {lesson.reused} % reuse, seed {seed}"
            variant = f"{RANDOM} {seed}"
            yield replace(
                trained, name=name, label=label, variant=variant, is_headline=False, num_seeds=RANDOM_SEEDS
            )


def _adjusted(lesson: Lesson) -> Iterator[Cell]:
    adjusted = Cell(
        name="block_caching_scale_shift",
        label="Block Caching, trained scale and shift",
        method="block_caching",
        artefact=lesson.name,
        is_headline=True,
        share=1 - lesson.reused / 100,
    )
    yield adjusted
    label = "Block Caching, the same schedule without"
    yield replace(adjusted, name=f"block_caching_{UNADJUSTED}", label=label, variant=UNADJUSTED)


def rivals(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Return who is compared with whom, seed by seed: a cell and the other, where both take part."""
    named = {cell.name: cell for cell in cells}
    asked = [(method, reused) for method in REUSED for reused in sorted(REUSED[method])]
    pairs = [(router_name(*one), f"fora_{_NEIGHBOURS[one[1]]}_percent") for one in asked]
    pairs.append((router_name("harmonica", 40), router_name("learning_to_cache", 40)))
    pairs += [(router_name(*one), f"{one[0]}_{one[1]}_{REVERSED}") for one in PROBED]
    pairs += [(cell.name, cell.against) for cell in cells if cell.against]
    pairs.append(("block_caching_scale_shift", f"block_caching_{UNADJUSTED}"))
    return [(named[own], named[other]) for own, other in pairs if own in named and other in named]

"""Searches a schedule for a MODEL and saves it: what the node does, without its widgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..cache_core import Artefact, Chart, Config, unused_path, write_artefact
from ..cache_core.artefact import Scalar
from ..cache_core.searching.outcome import (
    Rival,
    Unit,
    artefact_of,
    picture_of_errors,
    table,
    told,
    verdict,
)
from ..cache_core.searching.search import Search
from .schedule_masks import MaskWay
from .schedule_order import Order
from .schedule_runs import Runs, run_with
from .schedule_ways import StepWay, Way

COMPARED = 5
"""Samplings of a prompt by which what was found is compared: uncached, three schedules and fewer steps."""


@dataclass(kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        way: What is searched.
        total: Steps that will be sampled at most.
        on_change: Called after every step, and when a plan has been tried.
        done: Steps that were sampled.
        search: The search, once it has begun.
        stage: What is being done.
        unit: What is compared.
    """

    way: Way[Any]
    total: int
    on_change: Callable[[Progress], None]
    done: int = 0
    search: Search[Any] | None = None
    unit: Unit = "latents"
    stage: str = "sampling uncached"
    started: float = field(default_factory=time.monotonic)

    @property
    def minutes(self) -> float:
        """Minutes since the beginning."""
        return (time.monotonic() - self.started) / 60

    @property
    def num_tries(self) -> int:
        """Plans that were tried."""
        return 0 if self.search is None else len(self.search.tries)

    def step(self) -> None:
        """Count a step of a sampler."""
        self.done += 1
        self.on_change(self)

    def say(self, stage: str) -> None:
        """Begin another stage."""
        self.stage = stage

    def charts(self) -> tuple[Chart, ...]:
        """Return the best plan so far and the errors of all, once the search has begun."""
        assert self.search is not None
        return self.way.picture(self.search), picture_of_errors(self.search.tries, self.unit)

    def __str__(self) -> str:
        """Return it in one line."""
        left = 60 * self.minutes / max(self.done, 1) * (self.total - self.done)
        best = None if self.search is None else self.search.best
        error = "" if best is None else f", {told(best.error, self.unit)} so far"
        return f"{self.stage}{error}, at most {left:.0f} s left"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of a search."""

    path: Path
    artefact: Artefact
    search: Search[Any]
    way: Way[Any]
    charts: tuple[Chart, ...]
    text: str


def find(order: Order, on_change: Callable[[Progress], None]) -> Found:
    """Search to the end, compare what was found with other ways to sample, and save it.

    Whatever ends a search before, such as an interrupt, the best plan so far is saved.

    Raises:
        CacheError: If the model is not supported or cached, or nothing can be searched with these settings.
    """
    order.require_sound()
    run = run_with(order.model, order.settings, order.latent)
    way: Way[Any] = StepWay(order, run) if order.searched == "steps" else MaskWay(order, run)
    samplings = len(order.seen) * (1 + order.tries) + way.num_weighings + len(order.prompts) * COMPARED
    progress = Progress(way=way, unit=order.unit, total=run.num_steps * samplings, on_change=on_change)
    runs = Runs(
        model=order.model,
        settings=order.settings,
        negative=order.negative,
        latent=order.latent,
        vae=order.vae,
        run=run,
        on_step=progress.step,
    )
    seen = way.look(runs, progress.say)
    search: Search[Any] = Search(
        seen.table, seen.starts, lambda plan: runs.errors_of(way.policy(plan), order.seen, seen.results)
    )
    progress.search = search
    try:
        _go(order, progress, search)
        rivals = _compared(order, progress, runs, search)
    except BaseException:
        if search.best is not None:
            _save(order, way, search, ())
        raise
    path, artefact = _save(order, way, search, rivals)
    return Found(
        path=path,
        artefact=artefact,
        search=search,
        way=way,
        charts=progress.charts(),
        text=_text(order, way, search, rivals, progress),
    )


def _go(order: Order, progress: Progress, search: Search[Any]) -> None:
    """Try plan after plan. What the uncached samplings took is no part of the time that is given."""
    begun = progress.minutes
    while len(search.tries) < order.tries and (not search.tries or progress.minutes - begun < order.minutes):
        progress.say(f"trying plan {len(search.tries) + 1} of {order.tries}")
        if not search.step():
            return
        progress.on_change(progress)


def _compared(order: Order, progress: Progress, runs: Runs, search: Search[Any]) -> tuple[Rival, ...]:
    """Return the errors of what was found and of others, on a seed that the search did not see."""
    progress.say("comparing on another seed")
    uncached, best = runs.uncached(order.unseen), search.best
    assert best is not None
    known: dict[Config, torch.Tensor] = {}
    rivals = []
    for key, (name, policy) in progress.way.rivals(best.plan).items():
        if policy.config not in known:
            known[policy.config] = runs.errors_of(policy, order.unseen, uncached)
        rivals.append(Rival(name=name, key=key, errors=tuple(known[policy.config].tolist())))
    fewer = max(round(order.settings.steps * progress.way.num_full / runs.run.num_steps), 1)
    errors = runs.errors_of_fewer(fewer, order.unseen, uncached)
    return (*rivals, Rival(name=f"{fewer} plain steps", key="fewer_steps", errors=tuple(errors.tolist())))


def _save(
    order: Order, way: Way[Any], search: Search[Any], rivals: tuple[Rival, ...]
) -> tuple[Path, Artefact]:
    best = search.best
    assert best is not None
    made: dict[str, Scalar] = {
        "source": "schedule search",
        **way.made(),
        "speedup": order.speedup,
        "tries": len(search.tries),
        "stopped": not rivals,
        "num_prompts": len(order.prompts),
        "num_seeds": order.num_seeds,
        "first_seed": order.seed,
        "denoise": order.settings.denoise,
        "compared": order.unit,
    }
    measured = {**way.measured(best.plan), "error_when_searched": best.error}
    artefact = artefact_of(
        way.kind, way.compute(best.plan), way.network, way.sampling, made, measured, rivals
    )
    path = unused_path(order.folder, order.file_name)
    write_artefact(artefact, path)
    return path, artefact


def _text(
    order: Order, way: Way[Any], search: Search[Any], rivals: tuple[Rival, ...], progress: Progress
) -> str:
    best = search.best
    assert best is not None
    lines = [
        *way.facts(best.plan),
        "",
        "Predicted error, against the uncached picture, on a seed that the search did not see:",
        table(rivals, order.unit),
        verdict(rivals),
        "",
        f"on the pictures that it was searched on: {told(best.error, order.unit)}; {len(search.tries)} plans in {60 * progress.minutes:.0f} s",
    ]
    return "\n".join(lines)

"""Searches a list of full steps for a MODEL and saves it: what the node does, without its widgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cache_core import (
    POLICIES,
    Artefact,
    CacheConflictError,
    ConfigError,
    Level,
    Run,
    Sampling,
    fingerprint,
    unused_path,
    write_artefact,
)
from ..cache_core.artefact import Scalar
from ..cache_core.forecasting import ForecastConfig
from ..cache_core.searching.lists import Steps, share_of_calls
from ..cache_core.searching.outcome import METHOD, Rival, Unit, artefact_of, table, told, written
from ..cache_core.searching.search import Search
from ..cache_core.searching.table import GapTable
from .host import adapter_of, find_binding
from .schedule_runs import Picture, Runs, run_with
from .uncached import Conditioning, KSamplerSettings

RULE, EVEN = "default rule", "even spacing"
"""The lists that a search begins with, beside the table's own."""

COMPARED = 5
"""Samplings of a prompt by which the list that was found is compared: uncached, three lists and fewer steps."""

MOST_STEPS = 200
"""Beyond, working out the table would take longer than sampling."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A search as it was asked for.

    Attributes:
        model: A MODEL without a cache.
        settings: Of the KSampler.
        prompts: One conditioning for every prompt.
        negative: The negative prompt of all.
        latent: A LATENT: size, and pictures per sampling.
        seed: First seed of every prompt.
        num_seeds: Seeds per prompt that the search sees; the one after them is for comparing.
        speedup: One step in so many is full.
        forecast: How what is left out is forecast.
        tries: Most lists to sample with.
        minutes: No list is begun after so long.
        vae: A VAE to compare pictures by, or None to compare latents.
        folder: Where the file goes.
        name: Name of the file; empty for one made of the settings.
    """

    model: Any
    settings: KSamplerSettings
    prompts: list[Conditioning]
    negative: Conditioning
    latent: dict[str, Any]
    seed: int
    num_seeds: int
    speedup: float
    forecast: ForecastConfig
    tries: int
    minutes: float
    folder: Path
    vae: Any = None
    name: str = ""

    @property
    def file_name(self) -> str:
        """Name of the file, without a suffix."""
        made = self.settings
        own = f"steps_{adapter_of(self.model).name}_{made.steps}_{made.sampler}_{made.scheduler}_cfg{made.cfg:g}"
        return self.name.strip() or f"{own}_x{self.speedup:g}"

    @property
    def seen(self) -> list[Picture]:
        """What the search looks at."""
        return [(prompt, self.seed + i) for prompt in self.prompts for i in range(self.num_seeds)]

    @property
    def unseen(self) -> list[Picture]:
        """What the list that was found is compared on."""
        return [(prompt, self.seed + self.num_seeds) for prompt in self.prompts]

    @property
    def unit(self) -> Unit:
        """What is compared."""
        return "latents" if self.vae is None else "pictures"

    def policy(self, **settings: Any) -> Any:
        """Return a step list that forecasts as was asked for."""
        forecast = {"order": self.forecast.order, "trust": self.forecast.trust}
        method = POLICIES[METHOD]
        return method(method.config_type(**forecast, **settings))

    def starts(self, run: Run) -> dict[str, Steps]:
        """Return the lists that are known without a search.

        Raises:
            ConfigError: If nothing can be searched.
        """
        rule: Steps = self.policy(speedup=self.speedup).full_steps(run)
        if run.num_steps > MOST_STEPS or not 2 <= len(rule) < run.num_steps:
            raise ConfigError(
                f"'speedup' is {self.speedup:g} and the sampling has {run.num_steps} steps, which leaves {len(rule)} full ones. Expected "
                f"at most {MOST_STEPS} steps and from 2 full ones to one less than all: else there is nothing to search. Change one of them."
            )
        return {RULE: rule, EVEN: self.policy(speedup=self.speedup, spread="even").full_steps(run)}


@dataclass(kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        num_steps: T.
        total: Steps that will be sampled at most.
        on_change: Called after every step, and when a list has been tried.
        done: Steps that were sampled.
        search: The search, once it has begun.
        stage: What is being done.
        unit: What is compared.
    """

    num_steps: int
    total: int
    on_change: Callable[[Progress], None]
    done: int = 0
    search: Search | None = None
    unit: Unit = "latents"
    stage: str = "sampling uncached"
    started: float = field(default_factory=time.monotonic)

    @property
    def minutes(self) -> float:
        """Minutes since the beginning."""
        return (time.monotonic() - self.started) / 60

    def step(self) -> None:
        """Count a step of a sampler."""
        self.done += 1
        self.on_change(self)

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
    search: Search
    text: str


def find(order: Order, on_change: Callable[[Progress], None]) -> Found:
    """Search to the end, compare what was found with other ways to sample, and save it.

    Whatever ends a search before, such as an interrupt, the best list so far is saved.

    Raises:
        CacheError: If the model is not supported or cached, or nothing can be searched with these settings.
    """
    _require_sound(order)
    run = run_with(order.model, order.settings, order.latent)
    starts = order.starts(run)
    samplings = len(order.seen) * (1 + order.tries) + len(order.prompts) * COMPARED
    progress = Progress(
        unit=order.unit, num_steps=run.num_steps, total=run.num_steps * samplings, on_change=on_change
    )
    runs = Runs(
        model=order.model,
        settings=order.settings,
        negative=order.negative,
        latent=order.latent,
        vae=order.vae,
        run=run,
        on_step=progress.step,
    )
    record, uncached = runs.record(order.seen)
    search = Search(
        GapTable(record, order.forecast),
        len(starts[RULE]),
        starts,
        lambda steps: runs.error_of(order.policy(steps=written(steps)), order.seen, uncached),
    )
    progress.search = search
    try:
        _go(order, progress, search)
        rivals = _compared(order, progress, runs, search)
    except BaseException:
        if search.best is not None:
            _save(order, run, search, ())
        raise
    path, artefact = _save(order, run, search, rivals)
    return Found(
        path=path, artefact=artefact, search=search, text=_text(order, search, run, rivals, progress)
    )


def _go(order: Order, progress: Progress, search: Search) -> None:
    """Try list after list."""
    while len(search.tries) < order.tries and (not search.tries or progress.minutes < order.minutes):
        progress.stage = f"trying list {len(search.tries) + 1} of {order.tries}"
        if not search.step():
            return
        progress.on_change(progress)


def _compared(order: Order, progress: Progress, runs: Runs, search: Search) -> tuple[Rival, ...]:
    """Return the errors of the list that was found and of others, on a seed that the search did not see."""
    progress.stage = "comparing on another seed"
    uncached, best = runs.uncached(order.unseen), search.best
    assert best is not None
    lists = {"found": ("this list", best.steps)}
    lists |= {"rule": (f"the {RULE}", search.starts[RULE]), "even": (EVEN, search.starts[EVEN])}
    known: dict[Steps, float] = {}
    for _, steps in lists.values():
        if steps not in known:
            known[steps] = runs.error_of(order.policy(steps=written(steps)), order.unseen, uncached)
    fewer = max(round(order.settings.steps * len(best.steps) / progress.num_steps), 1)
    return (
        *(Rival(name=name, key=key, error=known[steps]) for key, (name, steps) in lists.items()),
        Rival(
            name=f"{fewer} plain steps",
            key="fewer_steps",
            error=runs.error_of_fewer(fewer, order.unseen, uncached),
        ),
    )


def _require_sound(order: Order) -> None:
    if find_binding(order.model) is not None:
        raise CacheConflictError(
            "This MODEL already carries a cache, and a list is searched on the plain model. Feed the search from before the cache "
            "node."
        )
    if not order.prompts:
        raise ConfigError("'positive' holds no prompt. Connect a text encoder.")
    adapter_of(order.model)
    unused_path(order.folder, order.file_name)


def _save(order: Order, run: Run, search: Search, rivals: tuple[Rival, ...]) -> tuple[Path, Artefact]:
    assert search.best is not None
    made: dict[str, Scalar] = {
        "source": "schedule search",
        "level": Level.MODEL.value,
        "order": order.forecast.order,
        "trust": order.forecast.trust,
        "speedup": order.speedup,
        "tries": len(search.tries),
        "stopped": not rivals,
        "num_prompts": len(order.prompts),
        "num_seeds": order.num_seeds,
        "first_seed": order.seed,
        "denoise": order.settings.denoise,
        "compared": order.unit,
    }
    sampling = Sampling(
        num_steps=run.num_steps,
        sigmas=run.sigmas,
        sampler=run.sampler,
        scheduler=order.settings.scheduler,
        cfg=order.settings.cfg,
        size=run.size,
    )
    network = fingerprint(adapter_of(order.model), Level.MODEL)
    artefact = artefact_of(search.best, network, sampling, made, _refresh_ratio(search, run), rivals)
    path = unused_path(order.folder, order.file_name)
    write_artefact(artefact, path)
    return path, artefact


def _refresh_ratio(search: Search, run: Run) -> float:
    assert search.best is not None and run.call_steps is not None
    return share_of_calls(search.best.steps, run.call_steps)


def _text(order: Order, search: Search, run: Run, rivals: tuple[Rival, ...], progress: Progress) -> str:
    best = search.best
    assert best is not None
    lines = [
        f"full steps: {written(best.steps)} ({len(best.steps)} of {run.num_steps})",
        f"computes {_refresh_ratio(search, run):.1%} of all calls (refresh ratio {_refresh_ratio(search, run):.3f})",
        "",
        "Predicted error, against the uncached picture, on a seed that the search did not see:",
        table(rivals, order.unit),
        "",
        f"on the pictures that it was searched on: {told(best.error, order.unit)}; {len(search.tries)} lists in {60 * progress.minutes:.0f} s",
    ]
    return "\n".join(lines)

"""What a cell is, and the runs that its guarantees are read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import pytest
import real
import torch
from replay import LEAVES, Replay
from stock import stock

Sample = Callable[[Any], torch.Tensor]
Line = Callable[[Any], Any]

STEPS = 5
MODELS: dict[str, Callable[[], Any]] = {
    "flux": real.random_flux,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}
FAMILIES = tuple(MODELS)
LEVELS = ("module", "block", "stack", "model")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of a graph and a cache.

    Attributes:
        group: Row of the table.
        name: What it is called within the group, together with family, level and order.
        sample: The graph behind the MODEL: returns the latent.
        line: The other nodes on the MODEL's line.
        order: Whether those stand before or after our node.
        make: The MODEL of the loader.
        anchor: FORA's; "start" where a sampler does not say how many calls it will make.
        core: Whether it runs in every test run, or only with --matrix.
        batches: Whether branches may as well come one by one: same decisions.
        reuses: Whether something is reused at all.
    """

    group: str
    name: str
    sample: Sample
    line: Line = field(default=lambda model: model)
    order: str = "before"
    make: Callable[[], Any] | None = None
    family: str = "flux"
    level: str = "module"
    anchor: str = "end"
    core: bool = False
    batches: bool = True
    reuses: bool = True

    def __str__(self) -> str:
        """Return the id of the test."""
        plain = (self.order,) if self.order != "before" else ()
        return "-".join((self.group, self.name, self.family, self.level, *plain)).replace(" ", "_")


@cache
def shared_model(family: str) -> Any:
    """Return a tiny MODEL that all cells share: what one left on it would be seen in the others."""
    return MODELS[family]()


class Runs:
    """The runs of one cell, each made when first asked for; a MODEL line is built anew for each kind of run.

    Attributes:
        loaded: The loader's MODEL.
        first: The latent without our node, before anything was cached.
        forwards: Modules with a forward of their own after that run.
    """

    def __init__(self, cell: Cell, cached: Callable[..., Any], report: Callable[[Any], Any]) -> None:
        self.cell, self.report, self._cached = cell, report, cached
        self.loaded = cell.make() if cell.make else shared_model(cell.family)
        self.first = self.plain()
        # The host itself leaves a bound method behind where another node patched a forward as an object.
        self.forwards = real.instance_forwards(self.loaded)

    def cached(self, interval: int) -> Any:
        """Return the MODEL line with our node in it."""
        settings = {"level": self.cell.level, "anchor": self.cell.anchor, "interval": interval}
        if self.cell.order == "before":
            return self._cached(self.cell.line(self.loaded), **settings)
        return self.cell.line(self._cached(self.loaded, **settings))

    def plain(self) -> torch.Tensor:
        """Return the latent without our node."""
        return self.cell.sample(self.cell.line(self.loaded))

    @cached_property
    def strict(self) -> tuple[torch.Tensor, Any]:
        """Latent and report at interval 1."""
        model = self.cached(1)
        return self.cell.sample(model), self.report(model)

    @cached_property
    def model(self) -> Any:
        """The MODEL at interval 2."""
        return self.cached(2)

    @cached_property
    def reused(self) -> tuple[torch.Tensor, Any]:
        """Latent and report at interval 2."""
        return self.cell.sample(self.model), self.report(self.model)

    @cached_property
    def expected(self) -> tuple[torch.Tensor, Replay]:
        """Latent and counts of the oracle at interval 2; skips where none can be made."""
        cell = self.cell
        if cell.level not in ("module", "model") or cell.family not in LEAVES:
            pytest.skip(
                f"no oracle in the matrix for level '{cell.level}'; tests/host/test_contract.py has it"
            )
        counting = Replay()
        with counting.over(self.loaded, cell.family, cell.level) as model:
            cell.sample(cell.line(model))
        replay = Replay.fora(2, cell.anchor, counting.lengths)
        with replay.over(self.loaded, cell.family, cell.level) as model:
            return cell.sample(cell.line(model)), replay


def latent(model: Any, batch: int = 1, *, empty: bool = True) -> dict[str, torch.Tensor]:
    """Return a LATENT of the family's smallest size, empty or seeded."""
    shape = (batch, *real.latent_shape(model))
    if empty:
        return {"samples": torch.zeros(shape)}
    return {"samples": torch.randn(shape, generator=torch.Generator().manual_seed(7))}


def ksampler(model: Any, **inputs: Any) -> torch.Tensor:
    """Return what the node KSampler gives."""
    given = {
        "seed": 1,
        "steps": STEPS,
        "cfg": 4.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "positive": real.conditioning(1),
        "negative": real.conditioning(2),
        "latent_image": latent(model),
        "denoise": 1.0,
    } | inputs
    with torch.inference_mode():
        samples: torch.Tensor = stock("KSampler", model=model, **given)[0]["samples"]
    return samples


def guided(
    model: Any, guider: str, *, sampler: Any = None, steps: int = STEPS, **inputs: Any
) -> torch.Tensor:
    """Return what SamplerCustomAdvanced gives with a guider node, and a SAMPLER: Euler where none is given."""
    with torch.inference_mode():
        out = stock(
            "SamplerCustomAdvanced",
            noise=stock("RandomNoise", noise_seed=1)[0],
            guider=stock(guider, model=model, **inputs)[0],
            sampler=sampler or stock("KSamplerSelect", sampler_name="euler")[0],
            sigmas=stock("BasicScheduler", model=model, scheduler="simple", steps=steps, denoise=1.0)[0],
            latent_image=latent(model),
        )
    samples: torch.Tensor = out[0]["samples"]
    return samples


def levels_of(family: str) -> tuple[str, ...]:
    """Return the levels of a family's cells: all for Flux; tests/host/test_contract.py has all for every family."""
    return LEVELS if family == "flux" else ("module", "stack")


def over_levels(core: tuple[tuple[str, str], ...] = (("flux", "module"),), **fields: Any) -> list[Cell]:
    """Return one cell per family and level; those in `core`, by family and level, run always."""
    families = fields.pop("families", FAMILIES)
    return [
        Cell(family=family, level=level, core=(family, level) in core, **fields)
        for family in families
        for level in levels_of(family)
    ]

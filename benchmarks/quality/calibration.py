"""Makes the kit: change profile, prior, polynomial, and thresholds, on captions and seeds that are not measured.

Thresholds are found for shares of computed calls by the method's own arithmetic on what the indicator showed in
uncached runs; then twice again on what it showed in runs with the threshold found so far, since reuse changes the
pictures and with them the indicator.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metrics.study.cells import Cell as Requested
from metrics.study.cells import requests
from zoo.sampling import Pipeline, sample_latents

from .arithmetic import threshold_ratio
from .cells import CFG, NUM_STEPS, PICTURES, SAMPLER, SHARES
from .code import PROBES
from .engine import Engine
from .kit import Kit, artefact_path, load_kit, numbers_path, sampling_of
from .sampling import drawn_by, observed_changes

FIRST_SEED = 100_000
"""Far from the seeds, and so the captions, that are measured."""
_BATCH, _HALVINGS, _ROUNDS = 8, 40, 2
_UNCACHED = Requested(SAMPLER, NUM_STEPS, CFG)


@dataclass(frozen=True)
class Part:
    """One calibration; also a job for the crew.

    Attributes:
        name: Of the artefact, or of the thresholds' kind.
        num_pictures: How many pictures its runs draw.
        number: Its place among the parts.
    """

    name: str
    num_pictures: int
    number: int

    is_headline = False

    @property
    def seeds(self) -> range:
        """Its own seeds."""
        first = FIRST_SEED + 1000 * self.number
        return range(first, first + self.num_pictures)

    @property
    def record(self) -> str:
        """What to call it in messages."""
        return f"calibrating {self.name}"

    @property
    def num_passes(self) -> int:
        """About how many forward passes it takes."""
        rounds = 1.0 if self.name in PROBES else 1.0 + _ROUNDS * sum(SHARES) / 100
        return round(2 * NUM_STEPS * self.num_pictures * rounds)

    def is_done(self, folder: Path) -> bool:
        """Whether its file is there."""
        path = artefact_path if self.name in PROBES else numbers_path
        return path(folder, self.name).is_file()


def parts(is_quick: bool = False) -> tuple[Part, ...]:
    """All calibrations; those of the thresholds need the others."""
    return tuple(
        Part(name, min(4, count) if is_quick else count, number)
        for number, (name, count) in enumerate(PICTURES.items())
    )


def calibrate(engine: Engine, pipeline: Pipeline, part: Part, folder: Path) -> None:
    """Make one part of the kit and write its file; for a polynomial and a profile also the picture of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if part.name in PROBES:
        _probe(engine, pipeline, part, folder)
        return
    kit = load_kit(engine, pipeline.model, folder)
    found = find_thresholds(kit, pipeline, part)
    partial = numbers_path(folder, part.name).with_suffix(".tmp")
    partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    partial.replace(numbers_path(folder, part.name))


def _probe(engine: Engine, pipeline: Pipeline, part: Part, folder: Path) -> None:
    core = engine.core
    kind = core.CALIBRATIONS[
        {"profile": "block_caching", "coefficients": "teacache"}.get(part.name, part.name)
    ]
    probe = kind(kind.config_type())
    # The branch that decides is looked at as a whole, so a polynomial is fitted to pictures drawn alone.
    size = 1 if part.name == "coefficients" else _BATCH
    found = probe.findings(record_runs(engine, pipeline, probe, _UNCACHED, part.seeds, size))
    path = artefact_path(folder, part.name)
    partial = path.with_suffix(f".partial{path.suffix}")
    partial.unlink(missing_ok=True)
    core.write_artefact(found.artefact, partial)
    _draw(engine, found, probe.title, path.with_suffix(".png"))
    path.with_suffix(".txt").write_text(found.text + "\n", encoding="utf-8")
    partial.replace(path)


def record_runs(
    engine: Engine, pipeline: Pipeline, probe: Any, setting: Requested, seeds: range, size: int = _BATCH
) -> Any:
    """Show `probe` uncached runs of some seeds, `size` pictures at a time.

    Returns:
        What its findings are about: a `Subject`.
    """
    model = engine.carry(pipeline.model, engine.core.Recording(probe))
    for start in range(seeds.start, seeds.stop, size):
        batch = range(start, min(start + size, seeds.stop))
        sample_latents(drawn_by(pipeline, model), requests(setting, batch))
        probe.close_run()
    number = len(seeds)
    return engine.core.Subject(
        architecture=engine.core.fingerprint(engine.host.adapter_of(pipeline.model), probe.level),
        sampling=replace(sampling_of(engine, pipeline.model, pipeline.size), cfg=setting.cfg),
        made={"num_prompts": number, "num_seeds": 1, "first_seed": seeds.start, "num_runs": number},
    )


def _draw(engine: Engine, found: Any, title: str, path: Path) -> None:
    import sys

    from PIL import Image

    chart = sys.modules[engine.host.__name__.replace(".host", ".chart_picture")]
    picture = chart.draw(found.charts, title, found.text)
    Image.fromarray((picture[0].numpy() * 255).round().astype("uint8")).save(path)


def find_thresholds(kit: Kit, pipeline: Pipeline, part: Part) -> dict[str, float]:
    """Return the threshold of a kind for every share of computed calls, by the name that cells use."""
    uncached = _changes(kit, pipeline, part, 0.0)
    found = {}
    for share in SHARES:
        threshold = threshold_for(uncached, share / 100)
        for _ in range(_ROUNDS):
            threshold = threshold_for(_changes(kit, pipeline, part, threshold), share / 100)
        found[f"{part.name}_{share}"] = threshold
    return found


def threshold_for(runs: Sequence[Sequence[float]], share: float) -> float:
    """Return the least threshold, near enough, that computes at most `share` of the calls of all runs.

    Args:
        runs: The rescaled changes of each run, from call to call.
        share: Of the calls.
    """
    low, high = 0.0, max(map(sum, runs)) * 1.01
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        computed = sum(threshold_ratio(run, middle) for run in runs) / len(runs)
        low, high = (low, middle) if computed <= share else (middle, high)
    return high


def _changes(kit: Kit, pipeline: Pipeline, part: Part, threshold: float) -> list[list[float]]:
    """Return what the schedule added up from call to call, in one run per seed."""
    core = kit.engine.core
    if part.name == "seacache":
        kind, given = core.POLICIES["seacache"], {}
    else:
        kind = core.POLICIES["teacache"]
        given = {"fitted": kit.artefacts["coefficients"]} if part.name == "fitted" else {}
    policy = kind(kind.config_type(threshold=threshold, **given))
    model = kit.engine.carry(pipeline.model, policy)
    rescale = getattr(policy, "rescale", float)
    runs = []
    for seed in part.seeds:
        sample_latents(drawn_by(pipeline, model), requests(_UNCACHED, [seed]))
        runs.append([rescale(change) for change in observed_changes(kit.engine.report(model))])
    return runs

"""What the contenders of one setting take from calibration, tuning and search; kept in a folder of files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.study.cells import Cell as Setting
from zoo.sampling import Pipeline

from ..engine import Engine, sigmas_of
from ..kit import Kit
from ..sampling import drawn_by
from .drawing import draw_latents
from .magnitudes import probe as magnitudes
from .search import Indices

CALIBRATED = {"profile": 8, "prior": 16, "coefficients": 6, "ratios": 4}
"""Artefacts and on how many pictures each is made."""
_CALIBRATIONS = {"profile": "block_caching", "prior": "prior", "coefficients": "teacache"}
_ONE_BY_ONE = "coefficients"
"""Fitted to the change of single pictures, because it is looked at picture by picture."""


@dataclass(frozen=True)
class Place:
    """Where the files of a setting are kept.

    Attributes:
        folder: Of the family's records.
        setting: Which setting of it.
    """

    folder: Path
    setting: Setting

    @property
    def records(self) -> Path:
        """What was drawn."""
        return self.folder / self.setting.name

    @property
    def kit(self) -> Path:
        """What was calibrated."""
        return self.records / "kit"

    def artefact(self, name: str) -> Path:
        """An artefact."""
        return self.kit / f"{name}.safetensors"

    def thresholds(self, name: str, code: str) -> Path:
        """The thresholds of a front, of the code that they were found with."""
        return self.kit / f"thresholds_{name}_{code}.json"

    def searched(self, num_steps: int, code: str) -> Path:
        """The searched list of some number of steps, of the effort that it was found with."""
        return self.kit / f"searched_{num_steps}_{code}.json"


@dataclass(frozen=True)
class SettingKit:
    """Everything that the cells of a setting name.

    Attributes:
        kit: Artefacts and thresholds.
        sigmas: The full run's noise levels.
        lists: By number of steps, which of them a searched run keeps.
    """

    kit: Kit
    sigmas: tuple[float, ...]
    lists: dict[int, Indices]


def read_kit(
    engine: Engine, model: Any, place: Place, thresholds: Sequence[Path], searched: Sequence[Path]
) -> SettingKit:
    """Read what has been made so far.

    Args:
        engine: The extension.
        model: The MODEL that it is for.
        place: Of the files.
        thresholds: Files of thresholds.
        searched: Files of searched lists.
    """
    artefacts = {
        name: engine.core.read_artefact(place.artefact(name))
        for name in CALIBRATED
        if place.artefact(name).is_file()
    }
    numbers: dict[str, float] = {}
    for path in thresholds:
        if path.is_file():
            numbers |= read_json(path)["thresholds"]
    found = [tuple(read_json(path)["indices"]) for path in searched if path.is_file()]
    lists = {len(indices) - 1: indices for indices in found}
    return SettingKit(Kit(engine, artefacts, numbers), sigmas_of(model, place.setting.steps), lists)


def make_artefact(engine: Engine, pipeline: Pipeline, place: Place, name: str, seeds: range) -> None:
    """Calibrate one artefact of `CALIBRATED` in uncached runs of some seeds, and write its file."""
    probe = _probe(engine, name)
    model = engine.carry(pipeline.model, engine.core.Recording(probe))
    size = 1 if name == _ONE_BY_ONE else len(seeds)
    sigmas = sigmas_of(model, place.setting.steps)
    for start in range(seeds.start, seeds.stop, size):
        draw_latents(drawn_by(pipeline, model), place.setting, range(start, start + size), sigmas)
        probe.close_run()
    found = probe.findings(_subject(engine, pipeline, place.setting, probe.level, seeds))
    place.kit.mkdir(parents=True, exist_ok=True)
    partial = place.kit / f"{name}.partial.safetensors"
    partial.unlink(missing_ok=True)
    engine.core.write_artefact(found.artefact, partial)
    partial.replace(place.artefact(name))


def _probe(engine: Engine, name: str) -> Any:
    if name == "ratios":
        return magnitudes(engine)
    kind = engine.core.CALIBRATIONS[_CALIBRATIONS[name]]
    return kind(kind.config_type())


def _subject(engine: Engine, pipeline: Pipeline, setting: Setting, level: Any, seeds: range) -> Any:
    core = engine.core
    return core.Subject(
        architecture=core.fingerprint(engine.host.adapter_of(pipeline.model), level),
        sampling=core.Sampling(
            num_steps=setting.steps,
            sigmas=sigmas_of(pipeline.model, setting.steps),
            sampler=setting.sampler,
            scheduler="simple",
            cfg=setting.cfg,
            size=(pipeline.size, pipeline.size),
        ),
        made={
            "num_prompts": len(seeds),
            "num_seeds": 1,
            "first_seed": seeds.start,
            "num_runs": len(seeds),
        },
    )


def read_json(path: Path) -> Any:
    """Read a file that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)

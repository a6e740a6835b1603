"""What cells take: artefacts and numbers from calibration, kept in a folder of files; hand-made and trained routers."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import routers

from . import trained
from .arithmetic import (
    block_caching_ratio,
    fora_ratio,
    mask_ratio,
    router_ratio,
    step_list_ratio,
    threshold_ratio,
)
from .cells import CFG, NUM_STEPS, REUSES, SAMPLER, STRAIGHT, Cell
from .code import PROBES, THRESHOLDS, code_of_part
from .engine import Engine, sigmas_of

EARLY_STEPS = (0, 1, 2, 3, 5, 8, 11, 14, 17, 19)
"""Found by hand on an earlier Flux of the zoo; not searched on these models."""


@dataclass(frozen=True)
class Kit:
    """Everything that cells name.

    Attributes:
        engine: The extension.
        artefacts: By the name that cells use.
        numbers: Numbers and lists of steps, by the name that cells use.
    """

    engine: Engine
    artefacts: Mapping[str, Any]
    numbers: Mapping[str, float | str]

    def policy(self, cell: Cell) -> Any:
        """Return what a cell with a method carries."""
        core = self.engine.core
        given = self.artefact(cell.artefact, cell.variant) if cell.artefact else None
        policy = self._make(core.POLICIES[cell.method], cell.settings, given, cell.tuned)
        if not cell.correction:
            return policy
        kind = core.CORRECTIONS[cell.correction]
        given = self.artefact(cell.correction_artefact) if cell.correction_artefact else None
        return self._make(kind, cell.correction_settings, given, cell.correction_tuned, (policy,))

    def artefact(self, name: str, variant: str = "") -> Any:
        """Return what calibration or a hand made, or else a trained file of the zoo.

        Raises:
            KeyError: If it is neither.
        """
        if trained.is_trained(name):
            return trained.read(self.engine.core, name, variant)
        return self.artefacts[name]

    def predicted(self, cell: Cell, policy: Any, observed: list[float]) -> float | None:
        """Return the refresh ratio that the method's own definition gives; dynamic ones from what was observed.

        None for a method whose definition is not written down in `arithmetic`.
        """
        settings = policy.inner.config if cell.correction else policy.config
        if cell.method == "fora":
            return fora_ratio(cell.steps, settings.interval, settings.anchor, cell.reuse_until)
        if cell.method == "step_list":
            return step_list_ratio(cell.steps, settings.speedup)
        if cell.method == "block_caching":
            return block_caching_ratio(settings.profile.tensors["profile"].double().numpy(), settings.delta)
        if cell.method == "mask":
            return mask_ratio(settings.mask.tensors["compute"].numpy())
        if cell.method in ("teacache", "seacache"):
            rescale = getattr(policy, "rescale", float)
            return threshold_ratio([rescale(change) for change in observed], settings.threshold)
        if cell.method not in routers.ROUTERS:
            return None
        free = routers.free_steps(cell.method, cell.steps)
        scores = settings.router.tensors["score"].double().numpy()
        return router_ratio(scores, settings.threshold, set(free).__contains__)

    def _make(
        self,
        kind: Any,
        settings: Any,
        artefact: Any = None,
        tuned: tuple[str, str] = ("", ""),
        inner: tuple[Any, ...] = (),
    ) -> Any:
        given = dict(settings)
        if artefact is not None:
            [field] = [item.name for item, details in kind.config_type.settings() if details.kinds]
            given |= {field: artefact, **trained.settings_of(artefact)}
        if tuned[0]:
            given[tuned[0]] = self.numbers[tuned[1]]
        return kind(*inner, kind.config_type(**given))


def load_kit(engine: Engine, model: Any, folder: Path) -> Kit:
    """Read what calibration has written so far, and make the rest by hand.

    Args:
        engine: The extension.
        model: The MODEL that the kit is for.
        folder: Of the kit's files.
    """
    core = engine.core
    found = {
        part: core.read_artefact(artefact_path(folder, part))
        for part in PROBES
        if artefact_path(folder, part).is_file()
    }
    numbers: dict[str, float | str] = {}
    for kind in THRESHOLDS:
        if numbers_path(folder, kind).is_file():
            numbers |= json.loads(numbers_path(folder, kind).read_text(encoding="utf-8"))
    if "profile" in found:
        measured = found["profile"].measured
        numbers |= {f"delta_{reuse}": measured[f"delta_at_reuse_{reuse / 100:g}"] for reuse in REUSES}
    if "prior" in found:
        numbers[STRAIGHT] = straight_steps(core, found["prior"])
    return Kit(engine, found | _hand_made(engine, model), numbers)


def straight_steps(core: Any, prior: Any) -> str:
    """Return the steps at which features do not turn back, as Gradient-Optimized Cache takes them: the authors' idea."""
    tokens = importlib.import_module(f"{core.__name__}.ops.tokens")
    differences = [tensor.float() for name, tensor in prior.tensors.items() if name.startswith("prior.")]
    turned = tokens.turns_back(differences).tolist()
    return ", ".join(str(step) for step, turns in enumerate(turned) if not turns)


def artefact_path(folder: Path, part: str) -> Path:
    """Where an artefact of the kit is kept, of the code that made it."""
    return folder / f"{part}_{code_of_part(part)}.safetensors"


def numbers_path(folder: Path, kind: str) -> Path:
    """Where the thresholds of a kind are kept, of the code that they were found with."""
    return folder / f"thresholds_{kind}_{code_of_part(kind)}.json"


def sampling_of(engine: Engine, model: Any, size: int | None = None) -> Any:
    """Return the settings that all cached cells share, as artefacts carry them."""
    return engine.core.Sampling(
        num_steps=NUM_STEPS,
        sigmas=sigmas_of(model, NUM_STEPS),
        sampler=SAMPLER,
        scheduler="simple",
        cfg=CFG,
        size=None if size is None else (size, size),
    )


def _hand_made(engine: Engine, model: Any) -> dict[str, Any]:
    core, sampling = engine.core, sampling_of(engine, model)
    network = engine.host.adapter_of(model)
    modules, stack = (core.fingerprint(network, level) for level in (core.Level.MODULE, core.Level.STACK))
    made = {
        f"{method}_{reuse}": routers.router(core, modules, sampling, method, reuse / 100)
        for method, reuses in (("learning_to_cache", (25, 45)), ("harmonica", REUSES))
        for reuse in reuses
    }
    made["mask_50"] = routers.mask(core, modules, sampling, 0.5)
    made["mask_early"] = routers.full_steps(core, stack, sampling, EARLY_STEPS)
    return made

"""Writes the list of full steps that a ready copy names: `python dev.py zoo artefacts`; `zoo routers` trains the others."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from .host import prepare_host
from .mapping import COUNTERPARTS, GUIDANCE, SCHEDULER
from .routers import full_steps
from .sampling import load_pipeline

FOLDER = Path(__file__).with_name("artefacts")
ROOT = Path(__file__).resolve().parents[2]

NUM_STEPS = 50
FULL_STEPS = (0, 1, 2, 3, 4, 6, 8, 10, 14, 19, 30, 43, 49)
"""The list that ships for Flux.1-dev."""


def full_steps_artefact(core: Any) -> Any:
    """Return the mask of the zoo's Flux that computes the listed steps.

    Args:
        core: The module `cache_core`.
    """
    patcher = load_pipeline("flux").model
    network = patcher.model.diffusion_model
    adapter = core.find_adapter(network)(network)
    return full_steps(core, core.fingerprint(adapter, core.Level.STACK), _sampling(core, patcher), FULL_STEPS)


def _sampling(core: Any, patcher: Any) -> Any:
    """Return the settings of the ready copy, with the noise levels that the host gives them."""
    samplers = importlib.import_module("comfy.samplers")
    noise = patcher.get_model_object("model_sampling")
    sigmas = samplers.calculate_sigmas(noise, SCHEDULER, NUM_STEPS)
    size = COUNTERPARTS[0].size
    return core.Sampling(
        num_steps=NUM_STEPS,
        sigmas=tuple(sigmas.tolist()),
        sampler="euler",
        scheduler=SCHEDULER,
        cfg=GUIDANCE,
        size=(size, size),
    )


def main() -> None:
    """Write the file anew."""
    prepare_host()
    # Behind the host's own folder: our `nodes/` must not hide ComfyUI's nodes.py.
    sys.path.append(str(ROOT))
    core = importlib.import_module("cache_core")
    path = FOLDER / f"{COUNTERPARTS[0].name}_{NUM_STEPS}_steps_{len(FULL_STEPS)}_full.safetensors"
    path.unlink(missing_ok=True)
    core.write_artefact(full_steps_artefact(core), path)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

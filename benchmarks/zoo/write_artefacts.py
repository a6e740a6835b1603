"""Writes the hand-made routers and the list of full steps that the ready copies name: `python dev.py zoo artefacts`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from gallery.families import FLUX, PIXART, SD3, Family

from .host import prepare_host
from .mapping import COUNTERPARTS, GUIDANCE, SCHEDULER, Counterpart
from .routers import full_steps, router
from .sampling import load_pipeline

FOLDER = Path(__file__).with_name("artefacts")
ROOT = Path(__file__).resolve().parents[2]

REUSE = {"learning_to_cache": 0.25, "harmonica": 0.5}
"""Share of all evaluations that is reused."""

FULL_STEPS = (0, 1, 2, 3, 4, 6, 8, 10, 14, 19, 30, 43, 49)
"""The list that ships for Flux.1-dev, of 50 steps."""

MODELS = dict(
    zip(("flux", "sd3", "pixart"), zip((FLUX, SD3, PIXART), COUNTERPARTS, strict=True), strict=True)
)
"""The zoo's models, what each stands for, and how it is sampled there."""


def artefacts(core: Any, model: str) -> dict[str, Any]:
    """Return every artefact of a model, by file name.

    Args:
        core: The module `cache_core`.
        model: One of `MODELS`.
    """
    family, zoo = MODELS[model]
    patcher = load_pipeline(model).model
    network = patcher.model.diffusion_model
    adapter = core.find_adapter(network)(network)
    modules = core.fingerprint(adapter, core.Level.MODULE)
    made = {
        f"{zoo.name}_{method}_{family.steps}_steps.safetensors": router(
            core, modules, _sampling(core, patcher, family, zoo), method, share
        )
        for method, share in REUSE.items()
    }
    if model == "flux":
        stack = core.fingerprint(adapter, core.Level.STACK)
        sampling = _sampling(core, patcher, family.with_steps(50), zoo)
        name = f"{zoo.name}_50_steps_{len(FULL_STEPS)}_full.safetensors"
        made[name] = full_steps(core, stack, sampling, FULL_STEPS)
    return made


def _sampling(core: Any, patcher: Any, family: Family, zoo: Counterpart) -> Any:
    """Return the settings of a ready copy, with the noise levels that the host gives them."""
    samplers = importlib.import_module("comfy.samplers")
    noise = patcher.get_model_object("model_sampling")
    sigmas = samplers.calculate_sigmas(noise, SCHEDULER, family.steps)
    return core.Sampling(
        num_steps=family.steps,
        sigmas=tuple(sigmas.tolist()),
        sampler="euler",
        scheduler=SCHEDULER,
        cfg=GUIDANCE,
        size=(zoo.size, zoo.size),
    )


def main() -> None:
    """Write the files anew."""
    prepare_host()
    # Behind the host's own folder: our `nodes/` must not hide ComfyUI's nodes.py.
    sys.path.append(str(ROOT))
    core = importlib.import_module("cache_core")
    for model in MODELS:
        for name, artefact in artefacts(core, model).items():
            (FOLDER / name).unlink(missing_ok=True)
            core.write_artefact(artefact, FOLDER / name)
            print((FOLDER / name).relative_to(ROOT))


if __name__ == "__main__":
    main()

"""Writes the artefact files that come with the pack, from published numbers: `python benchmarks/write_artefacts.py`."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "cache_core" / "artefacts"

FULL_STEPS: Mapping[str, tuple[int, ...]] = {
    "21": (*range(12), 13, 15, 17, 19, 24, 30, 38, 46, 49),
    "13": (0, 1, 2, 3, 4, 6, 8, 10, 14, 19, 30, 43, 49),
    "9": (0, 1, 2, 4, 6, 13, 24, 41, 49),
}
"""Full steps of 50 for Flux.1-dev at 1024 x 1024, guidance 3.5, from the Golden Path study (arXiv:2609.39343,
nanguoyu/Golden-Path-Hypothesis, MIT): the first two searched for PSNR, the last from the exhaustive search. In the
others the residual over all blocks is reused."""

NUM_STEPS = 50
FLUX_SHIFT = 1.15
"""Flux.1's shift of the schedule (mu) at 4096 image tokens."""


def artefacts() -> dict[str, Any]:
    """Return every artefact that ships, by file name."""
    core = importlib.import_module("cache_core")
    return {
        f"flux_dev_50_steps_{name}_full.safetensors": _full_steps(core, steps)
        for name, steps in FULL_STEPS.items()
    }


def _full_steps(core: Any, steps: tuple[int, ...]) -> Any:
    torch = importlib.import_module("torch")
    return core.Artefact(
        kind=core.Kind.MASK,
        method="mask",
        architecture=core.Architecture(
            family="flux",
            level=core.Level.STACK,
            sites=("blocks.0.residual",),
            blocks=(("double_blocks", 19), ("single_blocks", 38)),
            hidden_size=3072,
        ),
        sampling=core.Sampling(
            num_steps=NUM_STEPS, sigmas=_flux_sigmas(), sampler="euler", size=(1024, 1024)
        ),
        tensors={"compute": torch.tensor([[step in steps] for step in range(NUM_STEPS)])},
        made={
            "source": "arXiv:2609.39343, github.com/nanguoyu/Golden-Path-Hypothesis (MIT)",
            "model": "FLUX.1-dev",
            "guidance": 3.5,
        },
        measured={"refresh_ratio": len(steps) / NUM_STEPS},
    )


def _flux_sigmas() -> tuple[float, ...]:
    """Return the shifted schedule: e^mu / (e^mu + 1/t - 1) for t falling evenly from 1 to 1/T, then 0."""
    scale = math.exp(FLUX_SHIFT)
    times = (1 - step / NUM_STEPS for step in range(NUM_STEPS))
    return (*(scale / (scale + 1 / time - 1) for time in times), 0.0)


def main() -> None:
    """Write the files anew."""
    # The root's `nodes/` must not hide ComfyUI's nodes.py, so the root is on the path for this program only.
    sys.path.insert(0, str(ROOT))
    core = importlib.import_module("cache_core")
    for name, artefact in artefacts().items():
        (FOLDER / name).unlink(missing_ok=True)
        core.write_artefact(artefact, FOLDER / name)
        print((FOLDER / name).relative_to(ROOT))


if __name__ == "__main__":
    main()

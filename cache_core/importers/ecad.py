"""Schedules as ECAD publishes them: JSON with a bool for every step, block and component.

Aggarwal et al. 2025, "Evolutionary Caching to Accelerate Your Off-the-Shelf Diffusion Model" (arXiv:2506.15682),
AniAggarwal/ecad, `schedules/`. True computes. Steps are in the order they run.

Flux's single block leaves through one projection of attention and MLP together. ECAD caches its three parts
apart; here the projection's output is the one feature, and follows `single_proj_out`. Where that says reuse, ECAD
uses the same cached output; where it says compute, ECAD may still feed it a cached attention or MLP, while here
both are fresh: never staler than published, at somewhat more work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..artefact import MAX_STEPS, Architecture, Artefact, Kind, Sampling, Scalar
from ..errors import ArtefactError
from ..types import Site

NAMES: Mapping[str, Mapping[str, str]] = {
    "flux": {
        "img_attn": "full_attn",
        "txt_attn": "full_attn",
        "img_mlp": "full_ff",
        "txt_mlp": "full_ff_context",
        "attn_mlp": "single_proj_out",
    },
    "pixart": {"attn": "attn1", "cross_attn": "attn2", "mlp": "ff"},
}
"""By family: the component of ECAD's that each part of a block follows."""


def from_ecad(data: Mapping[str, Any], architecture: Architecture, sites: tuple[Site, ...]) -> Artefact:
    """Return the schedule of a loaded file for a network.

    Raises:
        ArtefactError: If the file is incomplete or made for another network.
    """
    described = data.get("cache_schedule")
    schedule = described.get("schedule") if isinstance(described, dict) else None
    if not isinstance(described, dict) or not isinstance(schedule, dict):
        raise ArtefactError("its 'cache_schedule' has no 'schedule'. Expected a schedule file of ECAD.")
    names = NAMES.get(architecture.family)
    if names is None:
        raise ArtefactError(
            f"ECAD's schedules are for {' and '.join(NAMES)}, this MODEL is '{architecture.family}'."
        )
    _check_blocks(described, architecture)
    num_steps = described.get("num_inference_steps")
    if not isinstance(num_steps, int) or num_steps != len(schedule) or num_steps > MAX_STEPS:
        raise ArtefactError(f"it says {num_steps!r} steps and has {len(schedule)}.")
    rows = [
        [_is_computed(schedule, step, site, names[site.part]) for site in sites] for step in range(num_steps)
    ]
    return Artefact(
        kind=Kind.MASK,
        method="mask",
        architecture=architecture,
        sampling=_sampling(data.get("config"), num_steps),
        tensors={"compute": torch.tensor(rows)},
        made=_made(described),
    )


def _check_blocks(described: Mapping[str, Any], architecture: Architecture) -> None:
    ours = [count for _, count in architecture.blocks]
    theirs = [described.get("num_blocks")] + [described[n] for n in ("num_single_blocks",) if n in described]
    if ours != theirs:
        raise ArtefactError(f"it is for a network of {theirs} blocks, this MODEL has {ours}.")


def _is_computed(schedule: Mapping[str, Any], step: int, site: Site, component: str) -> bool:
    block = f"single_{site.index}" if component.startswith("single_") else str(site.index)
    try:
        value = schedule[f"{step:03d}"][block][component]
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"it says nothing about step {step}, block '{block}', '{component}'.") from error
    if not isinstance(value, bool):
        raise ArtefactError(
            f"step {step}, block '{block}', '{component}' is {value!r}, expected true or false."
        )
    return value


def _sampling(config: Any, num_steps: int) -> Sampling:
    """Return the settings; ECAD's `guidance_scale` is Flux's embedded guidance or PixArt's cfg, so it is left out."""
    given = config if isinstance(config, dict) else {}
    size = (given.get("width"), given.get("height"))
    is_size = all(isinstance(side, int) for side in size)
    return Sampling(num_steps=num_steps, size=size if is_size else None)  # type: ignore[arg-type]


def _made(described: Mapping[str, Any]) -> dict[str, Scalar]:
    return {"source": "ECAD, arXiv:2506.15682", "name": str(described.get("name"))[:200]}

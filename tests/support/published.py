"""Networks' sites without a network, hand-made artefacts for them, and files of exactly the published layouts."""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cache_core import Architecture, Artefact, Kind, Level, Run, Sampling, Site

DOUBLE = ("img_attn", "txt_attn", "img_mlp", "txt_mlp")


def flux_sites(num_double: int = 2, num_single: int = 1) -> tuple[Site, ...]:
    """Return the MODULE sites of a Flux."""
    return _sites("double_blocks", num_double, DOUBLE) + _sites("single_blocks", num_single, ("attn_mlp",))


def pixart_sites(num_blocks: int = 2) -> tuple[Site, ...]:
    """Return the MODULE sites of a PixArt."""
    return _sites("blocks", num_blocks, ("attn", "cross_attn", "mlp"))


def architecture(family: str, sites: Sequence[Site], **changes: Any) -> Architecture:
    """Return the fingerprint of a network with these sites."""
    blocks: dict[str, int] = {}
    for site in sites:
        blocks[site.path] = site.index + 1
    parts: dict[str, Any] = {"blocks": tuple(blocks.items()), "hidden_size": 64} | changes
    return Architecture(family=family, level=Level.MODULE, sites=tuple(map(str, sites)), **parts)


def router(scores: Tensor, network: Architecture, method: str = "harmonica", **sampling: Any) -> Artefact:
    """Return a router with the given scores (T, S)."""
    return Artefact(
        kind=Kind.ROUTER,
        method=method,
        architecture=network,
        sampling=Sampling(num_steps=len(scores), **sampling),
        tensors={"score": scores},
        threshold=0.1,
        name="router.safetensors",
    )


def mask(compute: Tensor, network: Architecture, **sampling: Any) -> Artefact:
    """Return a mask with the given bools (T, S)."""
    return Artefact(
        kind=Kind.MASK,
        method="mask",
        architecture=network,
        sampling=Sampling(num_steps=len(compute), **sampling),
        tensors={"compute": compute},
        name="mask.safetensors",
    )


def half_scores(num_steps: int, num_sites: int) -> Tensor:
    """Return scores of which every other one, in the pattern of a chess-board, is high (5) and the others low (-5)."""
    places = torch.arange(num_steps)[:, None] + torch.arange(num_sites)
    return torch.where(places % 2 == 0, 5.0, -5.0)


def even_run(num_steps: int, **changes: Any) -> Run:
    """Return a run of equal steps from 1 to 0 with one call each."""
    sigmas = tuple(1 - step / num_steps for step in range(num_steps + 1))
    return Run(sigmas=sigmas, sampler="euler", call_steps=tuple(range(num_steps)), **changes)


def save_routers(path: Path, rows: Sequence[Tensor], args: dict[str, Any] | None = None) -> Path:
    """Write routers as learning-to-cache and HarmoniCa do; `rows` are in the file's order, noise ascending."""
    modules = torch.nn.ModuleList([_Router(row) for row in rows])
    optimizer = torch.optim.AdamW(modules.parameters(), weight_decay=0)
    state = {
        "routers": modules.state_dict(),
        "opt": optimizer.state_dict(),
        "args": argparse.Namespace(**(args or {})),
    }
    torch.save(state, path)
    return path


def save_uvit(path: Path, rows: Sequence[Tensor]) -> Path:
    """Write routers as learning-to-cache does for U-ViT: the state dict alone."""
    torch.save(OrderedDict((f"{i}.prob", row) for i, row in enumerate(rows)), path)
    return path


def save_ecad(path: Path, schedule: dict[str, Any], **described: Any) -> Path:
    """Write a schedule as ECAD does."""
    whole = {"num_inference_steps": len(schedule), "name": "hand-made", "attributes": {}} | described
    config = {"height": 256, "width": 256, "guidance_scale": 5}
    body = {"cache_schedule": whole | {"schedule": schedule}, "config": config, "metrics": {}}
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def ecad_flux(
    num_double: int, num_single: int, num_steps: int, is_computed: Callable[[int, str, str], bool]
) -> dict[str, Any]:
    """Return ECAD's schedule for a Flux; `is_computed(step, block, component)` says what is true."""
    blocks = {str(i): ("full_attn", "full_ff", "full_ff_context") for i in range(num_double)}
    blocks |= {
        f"single_{i}": ("single_attn", "single_proj_mlp", "single_proj_out") for i in range(num_single)
    }
    return {
        f"{step:03d}": {
            block: {part: is_computed(step, block, part) for part in parts} for block, parts in blocks.items()
        }
        for step in range(num_steps)
    }


class _Router(torch.nn.Module):
    def __init__(self, prob: Tensor) -> None:
        super().__init__()
        self.prob = torch.nn.Parameter(prob.clone())
        self.activation = torch.nn.Sigmoid()


def _sites(path: str, count: int, parts: Sequence[str]) -> tuple[Site, ...]:
    return tuple(
        Site(level=Level.MODULE, path=path, index=index, part=part)
        for index in range(count)
        for part in parts
    )

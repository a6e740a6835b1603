"""Routers as Learning-to-Cache and HarmoniCa save them.

horseee/learning-to-cache, `DiT/train_router.py`: a dict with `routers` (`"k.prob"` -> (2 * depth,) float32), `opt` and
`args`. Key k counts the timesteps upwards, so the first step that runs is the last key; entry 2b is the attention of
block b, 2b + 1 its MLP. Learning-to-Cache trains the even keys only, the others keep their random start.
HarmoniCa (arXiv:2410.01723) saves the same dict, trains all keys, and fixes the first step's scores at 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..artefact import CAUTION, Architecture, Artefact, Kind, Sampling, Scalar
from ..components import ATTENTION, CROSS, MLP, block_numbers, components_of
from ..errors import ArtefactError
from ..types import Site

ALWAYS = 1e4
"""Score of what is computed at any threshold below 1."""

FIXED = 5.0
"""HarmoniCa's score of every site in the first step."""

DEFAULT_THRESHOLD = 0.1

ALIASES = {"sd3": ("sd3", "stablediffusion3")}
"""What the name of a family's models holds, without signs; the family's own name where nothing stands here."""

UNNAMED = (
    "does not say for which model it was made; only its number of scores was checked. A router of another model (DiT-XL's for "
    "PixArt, which has as many blocks) gives bad pictures: be sure that it is for this one."
)
"""A caution about a file."""


def from_routers(data: Mapping[str, Any], architecture: Architecture, sites: tuple[Site, ...]) -> Artefact:
    """Return the routers of a loaded file for a network.

    Raises:
        ArtefactError: If the layout is another, or the file was made for another network.
    """
    args = data.get("args") if isinstance(data.get("args"), dict) else {}
    assert isinstance(args, dict)
    published = _published_scores(data)
    num_steps = len(published)
    _check_model(args, architecture, published.shape[1])
    method = "harmonica" if bool((published[0] == FIXED).all()) else "learning_to_cache"
    scores = _site_scores(published, sites)
    if method == "learning_to_cache":
        full = [step for step in range(num_steps) if (num_steps - 1 - step) % 2 or step == 0]
        scores[full] = ALWAYS
    return Artefact(
        kind=Kind.ROUTER,
        method=method,
        architecture=architecture,
        sampling=Sampling(num_steps=num_steps),
        tensors={"score": scores},
        threshold=_threshold(args),
        made=_made(args),
    )


def _published_scores(data: Mapping[str, Any]) -> Tensor:
    """Return the scores (T, entries), first step first.

    Raises:
        ArtefactError: If there is no complete set of routers.
    """
    routers = data.get("routers")
    if not isinstance(routers, dict) or not routers:
        if "0.prob" in data:
            raise ArtefactError(
                "it is a router for U-ViT, whose entries follow the evaluations of DPM-Solver-2 and not the steps. "
                "ComfyUI has no U-ViT; use a router made for this MODEL."
            )
        raise ArtefactError("it has no 'routers'. Expected a router file of Learning-to-Cache or HarmoniCa.")
    rows = [routers.get(f"{key}.prob") for key in reversed(range(len(routers)))]
    tensors = [row for row in rows if isinstance(row, Tensor) and row.ndim == 1 and row.is_floating_point()]
    if len(tensors) != len(rows) or len({len(row) for row in tensors}) != 1:
        raise ArtefactError(
            f"its {len(routers)} routers are not all called '0.prob' to '{len(routers) - 1}.prob', one score per layer. "
            "Expected a router file of Learning-to-Cache or HarmoniCa."
        )
    return torch.stack(tensors).float()


def _check_model(args: Mapping[str, Any], architecture: Architecture, num_entries: int) -> None:
    model, family = args.get("model"), architecture.family
    if isinstance(model, str) and not any(name in _plain(model) for name in ALIASES.get(family, (family,))):
        raise ArtefactError(
            f"it was trained for '{model[:80]}' ({num_entries} scores per step), this MODEL is '{architecture.family}'. "
            "What may be reused differs from network to network: use a router trained for this one."
        )


def _plain(model: str) -> str:
    return "".join(letter for letter in model.lower() if letter.isalnum())


def _site_scores(published: Tensor, sites: tuple[Site, ...]) -> Tensor:
    """Return scores (T, S): a site of several components takes the highest, one without an entry is always computed.

    Raises:
        ArtefactError: If the entries do not come out even.
    """
    numbers = block_numbers(sites)
    num_entries = published.shape[1]
    has_cross = any(site.part == CROSS for site in sites)
    layouts: dict[int, tuple[str, ...]] = {2 * len(numbers): (ATTENTION, MLP)}
    if has_cross:
        layouts[3 * len(numbers)] = (ATTENTION, CROSS, MLP)
    if num_entries not in layouts:
        expected = " or ".join(f"{count} ({', '.join(parts)})" for count, parts in layouts.items())
        raise ArtefactError(
            f"it has {num_entries} scores per step, this MODEL has {len(numbers)} blocks, expected {expected}. "
            "Use a router trained for this network."
        )
    order = layouts[num_entries]
    columns = []
    for site in sites:
        first = numbers[site.path, site.index] * len(order)
        entries = [first + order.index(part) for part in components_of(site) if part in order]
        columns.append(published[:, entries].amax(1) if entries else torch.full((len(published),), ALWAYS))
    return torch.stack(columns, dim=1)


def _threshold(args: Mapping[str, Any]) -> float:
    given = args.get("ste_threshold")
    return float(given) if isinstance(given, int | float) and 0 <= given <= 1 else DEFAULT_THRESHOLD


def _made(args: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return what the file says of its training; never paths of the machine it was made on."""
    names = ("model", "image_size", "l1", "lr", "max_steps", "num_sampling_steps", "global_seed", "lambda_c")
    told = {name: args[name] for name in names if isinstance(args.get(name), str | int | float)}
    caution = {} if isinstance(args.get("model"), str) else {CAUTION: UNNAMED}
    return {"source": "router file of Learning-to-Cache or HarmoniCa", **told, **caution}

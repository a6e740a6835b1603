"""Schedules as SmoothCache writes them: JSON with a list of 1 (compute) and 0 (reuse) per component.

Liu et al. 2024, "SmoothCache: A Universal Inference Acceleration Technique for Diffusion Transformers"
(arXiv:2411.10510), Roblox/SmoothCache. A list is for all blocks (`attn1`) or for one (`attn1-3`, counted over the
whole network), in the order the steps run. A component without a list is computed; a site of several
components, such as Flux's fused single branch, is computed where any of them is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from ..artefact import MAX_STEPS, Architecture, Artefact, Kind, Sampling
from ..components import ATTENTION, CROSS, MLP, block_numbers, components_of
from ..errors import ArtefactError
from ..types import Site

NAMES = {
    "attn": ATTENTION,
    "attn1": ATTENTION,
    "attn2": CROSS,
    "cross_attn": CROSS,
    "ff": MLP,
    "mlp": MLP,
}


def from_smoothcache(
    data: Mapping[str, Any], architecture: Architecture, sites: tuple[Site, ...]
) -> Artefact:
    """Return the schedule of a loaded file for a network; the file itself does not say for which it was made.

    Raises:
        ArtefactError: If the file is of another layout or names blocks or components that the network lacks.
    """
    numbers = block_numbers(sites)
    lists = {_key(name): _steps(name, values) for name, values in data.items()}
    lengths = {len(steps) for steps in lists.values()}
    if len(lengths) != 1 or not 1 <= max(lengths) <= MAX_STEPS:
        raise ArtefactError(f"its lists have {sorted(lengths)} steps, expected one number for all.")
    present = {
        (part, number)
        for site in sites
        for part in components_of(site)
        for number in (None, numbers[site.path, site.index])
    }
    foreign = [name for name in data if _key(name) not in present]
    if foreign:
        raise ArtefactError(
            f"it names '{foreign[0]}', this MODEL has {len(numbers)} blocks of {', '.join(sorted({p for p, _ in present}))}."
        )
    num_steps = lengths.pop()
    always = [True] * num_steps
    columns = []
    for site in sites:
        number = numbers[site.path, site.index]
        parts = [lists.get((part, number), lists.get((part, None), always)) for part in components_of(site)]
        columns.append([any(step) for step in zip(*parts, strict=True)])
    return Artefact(
        kind=Kind.MASK,
        method="mask",
        architecture=architecture,
        sampling=Sampling(num_steps=num_steps),
        tensors={"compute": torch.tensor(columns).T.contiguous()},
        made={"source": "SmoothCache, arXiv:2411.10510"},
    )


def _key(name: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(\w+?)(?:-(\d{1,4}))?", name)
    if found is None or found[1] not in NAMES:
        raise ArtefactError(
            f"it has an entry '{name[:80]}', expected {', '.join(NAMES)}, or one of these with a block, such as 'attn1-3'. "
            "Expected a schedule file of SmoothCache, or of ECAD with 'cache_schedule'."
        )
    return NAMES[found[1]], None if found[2] is None else int(found[2])


def _steps(name: str, values: Any) -> list[bool]:
    if not isinstance(values, list) or any(value not in (0, 1) for value in values):
        raise ArtefactError(f"'{name[:80]}' is no list of 1 (compute) and 0 (reuse).")
    return [bool(value) for value in values]

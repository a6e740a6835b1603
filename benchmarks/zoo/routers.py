"""Routers and masks of known cost that nothing was learned for: for tests, and for trained routers to be compared with.

Which parts are reused is spread evenly over steps and sites, or is a trained router's with its steps reversed, or is drawn at
random; a trained router of the same cost should do better. Shapes: T steps in the order they run, S sites in the order they run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

ROUTERS = ("learning_to_cache", "harmonica")

THRESHOLD = 0.1
"""The papers' own; sigmoid of the scores here is far from it on both sides."""

BY_HAND = "made by hand, evenly spread"
"""What a hand-made file says of its source."""

_SCORE = 5.0

_STEP = (5.0**0.5 - 1) / 2
"""The golden ratio: of all strides through the unit interval the one that leaves the fewest long gaps in time."""
_SITE = 2.0**0.5 - 1
"""Another irrational stride, so that neighbouring sites are not reused in the same steps."""


class ShareError(ValueError):
    """The method cannot reuse that much."""


def free_steps(method: str, num_steps: int) -> list[int]:
    """Return the steps in which a router decides: all but the first; with Learning-to-Cache the second of each pair."""
    if method == "learning_to_cache":
        return [step for step in range(1, num_steps) if (num_steps - 1 - step) % 2 == 0]
    return list(range(1, num_steps))


def computed(method: str, num_steps: int, num_sites: int, reuse: float) -> Tensor:
    """Return which sites are computed in which step.

    Args:
        method: `learning_to_cache`, `harmonica` or `mask`.
        num_steps: T.
        num_sites: S.
        reuse: Share of all T x S evaluations that is reused, rounded to a whole number of them.

    Returns:
        (T, S) bool, false at exactly that many places.

    Raises:
        ShareError: If the method computes more than that by its own rule.
    """
    free = torch.tensor(free_steps(method, num_steps))
    wanted, most = round(reuse * num_steps * num_sites), len(free) * num_sites
    if not 0 <= wanted <= most:
        raise ShareError(
            f"'{method}' cannot reuse a share of {reuse} in {num_steps} steps; expected 0 to {most / num_steps / num_sites}"
        )
    rows = torch.arange(len(free), dtype=torch.float64)[:, None] * _STEP
    columns = torch.arange(num_sites, dtype=torch.float64)[None, :] * _SITE
    places = ((rows + columns) % 1.0).flatten().argsort(stable=True)[:wanted]
    result = torch.ones(num_steps, num_sites, dtype=torch.bool)
    result[free[places // num_sites], places % num_sites] = False
    return result


def router(core: Any, architecture: Any, sampling: Any, method: str, reuse: float) -> Any:
    """Return a router of which exactly a share `reuse` of all evaluations is reused at its own threshold.

    Args:
        core: The module `cache_core`, as whoever reads the artefact has it.
        architecture: Fingerprint of the network at level MODULE: `core.fingerprint(adapter, core.Level.MODULE)`.
        sampling: A `core.Sampling` with `num_steps` and, for other schedules to be mapped onto it, `sigmas`.
        method: One of `ROUTERS`.
        reuse: As for `computed`.

    Returns:
        A `core.Artefact` of kind router.

    Raises:
        ShareError: As `computed`.
    """
    compute = computed(method, sampling.num_steps, len(architecture.sites), reuse)
    return core.Artefact(
        kind=core.Kind.ROUTER,
        method=method,
        architecture=architecture,
        sampling=sampling,
        tensors={"score": torch.where(compute, _SCORE, -_SCORE)},
        threshold=THRESHOLD,
        name=f"hand_made_{method}_{reuse:g}",
        made=_made(compute),
    )


def reversed_router(trained: Any) -> Any:
    """Return a router whose decisions come in the reverse order of steps, of the same cost.

    Args:
        trained: A `core.Artefact` of kind router. The steps in which its method decides nothing stay as they are.
    """
    scores, free = trained.tensors["score"].clone(), free_steps(trained.method, trained.num_steps)
    scores[free] = trained.tensors["score"][free[::-1]]
    return replace(
        trained, tensors={"score": scores}, name=f"{trained.name} reversed", made={"source": "reversed"}
    )


def random_router(trained: Any, seed: int) -> Any:
    """Return a router that reuses as many evaluations as a trained one, at random places where its method may reuse.

    Args:
        trained: A `core.Artefact` of kind router.
        seed: Of the draw; every place is equally likely.
    """
    free = torch.tensor(free_steps(trained.method, trained.num_steps))
    compute = torch.ones(trained.num_steps, len(trained.architecture.sites), dtype=torch.bool)
    dice = torch.Generator().manual_seed(seed)
    places = torch.randperm(len(free) * compute.shape[1], generator=dice)[: num_reused(trained)]
    compute[free[places // compute.shape[1]], places % compute.shape[1]] = False
    return replace(
        trained,
        tensors={"score": torch.where(compute, _SCORE, -_SCORE)},
        threshold=THRESHOLD,
        name=f"{trained.name} random {seed}",
        made={"source": f"drawn at random, seed {seed}", "refresh_ratio": refresh_ratio(compute)},
    )


def num_reused(trained: Any) -> int:
    """Return how many of the T x S evaluations a router reuses at its own threshold, where its method may reuse."""
    scores = trained.tensors["score"][free_steps(trained.method, trained.num_steps)].double()
    return int((scores.sigmoid() <= trained.threshold).sum())


def mask(core: Any, architecture: Any, sampling: Any, reuse: float) -> Any:
    """Return a mask of known cost, as `router` does, for the level of `architecture`."""
    compute = computed("mask", sampling.num_steps, len(architecture.sites), reuse)
    return _mask(core, architecture, sampling, compute, f"hand_made_mask_{reuse:g}")


def full_steps(core: Any, architecture: Any, sampling: Any, steps: Collection[int]) -> Any:
    """Return a mask that computes everything in `steps` and nothing in the others."""
    rows = torch.tensor([step in steps for step in range(sampling.num_steps)])
    compute = rows[:, None].expand(-1, len(architecture.sites)).clone()
    return _mask(core, architecture, sampling, compute, f"hand_made_{len(steps)}_full_steps")


def _mask(core: Any, architecture: Any, sampling: Any, compute: Tensor, name: str) -> Any:
    return core.Artefact(
        kind=core.Kind.MASK,
        method="mask",
        architecture=architecture,
        sampling=sampling,
        tensors={"compute": compute},
        name=name,
        made=_made(compute),
    )


def _made(compute: Tensor) -> dict[str, Any]:
    return {"source": BY_HAND, "refresh_ratio": refresh_ratio(compute)}


def refresh_ratio(compute: Tensor | Sequence[Sequence[bool]]) -> float:
    """Return the share of evaluations that are computed."""
    return float(torch.as_tensor(compute).double().mean())

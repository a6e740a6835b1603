"""The zoo's routers that nothing was learned for cost exactly what they say."""

from __future__ import annotations

import pytest
import torch
from published import architecture, flux_sites
from zoo.routers import (
    ROUTERS,
    ShareError,
    computed,
    free_steps,
    full_steps,
    mask,
    num_reused,
    random_router,
    refresh_ratio,
    reversed_router,
    router,
)

import cache_core

SITES = flux_sites(2, 3)
SAMPLING = cache_core.Sampling(num_steps=20)


def _network() -> cache_core.Architecture:
    return architecture("flux", SITES, hidden_size=128)


@pytest.mark.parametrize("reuse", [0.0, 0.25, 0.45])
@pytest.mark.parametrize("method", ROUTERS)
def test_a_router_reuses_exactly_its_share(method: str, reuse: float) -> None:
    compute = computed(method, 20, 30, reuse)
    assert int((~compute).sum()) == round(reuse * 20 * 30)


@pytest.mark.parametrize("method", ROUTERS)
def test_the_policy_that_follows_it_computes_just_that(method: str) -> None:
    made = router(cache_core, _network(), SAMPLING, method, 0.4)
    kind = cache_core.POLICIES[method]
    policy = kind(kind.config_type(router=made, threshold=made.threshold))
    run = cache_core.Run(sigmas=tuple(1 - i / 20 for i in range(21)), call_steps=tuple(range(20)))
    calls = [cache_core.Call(index=i, step=i, sigma=run.sigmas[i], run=run) for i in range(20)]
    plans = [policy.plan(call, cache_core.Evidence(sites=SITES)) for call in calls]
    done = sum(action is cache_core.Action.COMPUTE for plan in plans for action in plan.values())
    assert done / (20 * len(SITES)) == pytest.approx(made.made["refresh_ratio"])
    assert made.made["refresh_ratio"] == pytest.approx(0.6, abs=0.5 / (20 * len(SITES)))


def test_learning_to_cache_leaves_every_second_step_full() -> None:
    assert free_steps("learning_to_cache", 6) == [1, 3, 5]
    assert bool(computed("learning_to_cache", 6, 8, 0.5)[::2].all())


def test_more_than_the_method_allows_is_refused() -> None:
    with pytest.raises(ShareError, match=r"'learning_to_cache' cannot reuse a share of 0.6 in 20 steps"):
        computed("learning_to_cache", 20, 8, 0.6)


def test_half_of_everything_is_half_of_every_step_and_site_and_never_older_than_two() -> None:
    reused = ~computed("harmonica", 20, 24, 0.5)[1:]
    assert reused.sum(1).min() >= 11 and reused.sum(1).max() <= 14
    assert reused.sum(0).min() >= 9 and reused.sum(0).max() <= 11
    assert not bool((reused[:-2] & reused[1:-1] & reused[2:]).any())


def test_masks_and_lists_of_full_steps_are_masks() -> None:
    listed = full_steps(cache_core, _network(), SAMPLING, (0, 3, 19))
    assert listed.kind is mask(cache_core, _network(), SAMPLING, 0.5).kind is cache_core.Kind.MASK
    assert torch.equal(listed.tensors["compute"].all(dim=1).nonzero().flatten(), torch.tensor([0, 3, 19]))
    assert refresh_ratio(listed.tensors["compute"]) == pytest.approx(3 / 20)


# --- what a trained router is compared with ----------------------------------------------------------------------


def _trained(method: str, threshold: float = 0.1) -> cache_core.Artefact:
    """A router whose scores are noise, as training leaves them, at a threshold that may have been moved."""
    scores = torch.randn(20, len(SITES), generator=torch.Generator().manual_seed(3))
    return cache_core.Artefact(
        kind=cache_core.Kind.ROUTER,
        method=method,
        architecture=_network(),
        sampling=SAMPLING,
        tensors={"score": scores},
        threshold=threshold,
    )


def _reused(made: cache_core.Artefact) -> torch.Tensor:
    """Which evaluations the policy that follows a router reuses: (T, S)."""
    kind = cache_core.POLICIES[made.method]
    policy = kind(kind.config_type(router=made, threshold=made.threshold))
    run = cache_core.Run(sigmas=tuple(1 - i / 20 for i in range(21)), call_steps=tuple(range(20)))
    calls = [cache_core.Call(index=i, step=i, sigma=run.sigmas[i], run=run) for i in range(20)]
    plans = [policy.plan(call, cache_core.Evidence(sites=SITES)) for call in calls]
    return torch.tensor([[plan[site] is cache_core.Action.REUSE for site in SITES] for plan in plans])


@pytest.mark.parametrize("threshold", [0.4, 0.997])
@pytest.mark.parametrize("method", ROUTERS)
def test_a_random_router_reuses_as_much_as_the_trained_one_where_its_method_may(
    method: str, threshold: float
) -> None:
    trained = _trained(method, threshold)
    found = _reused(random_router(trained, 0))
    assert int(found.sum()) == num_reused(trained) == int(_reused(trained).sum()) > 0
    full = sorted(set(range(20)) - set(free_steps(method, 20)))
    assert not bool(found[full].any())


def test_random_routers_differ_by_seed_and_repeat_by_seed() -> None:
    trained = _trained("harmonica", 0.5)
    drawn = [_reused(random_router(trained, seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("method", ROUTERS)
def test_a_reversed_router_decides_in_the_reverse_order_of_steps(method: str) -> None:
    trained = _trained(method, 0.5)
    forth, back = _reused(trained), _reused(reversed_router(trained))
    free = free_steps(method, 20)
    assert torch.equal(back[free], forth[free].flip(0))
    assert int(back.sum()) == int(forth.sum())
    assert not torch.equal(back, forth)

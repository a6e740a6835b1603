"""Learning-to-Cache's pairs and threshold, counted by hand and on the published counts."""

from __future__ import annotations

from typing import Any

import published
import pytest
import torch
from torch import Tensor

from cache_core import (
    POLICIES,
    Action,
    Artefact,
    Call,
    ConfigError,
    Evidence,
    Policy,
    Run,
    predict_refresh_ratio,
)

SITES = published.pixart_sites(1)
NETWORK = published.architecture("pixart", SITES)


def _policy(router: Artefact | None, **settings: Any) -> Policy:
    policy = POLICIES["learning_to_cache"]
    return policy(policy.config_type(router=router, **settings))


def _router(scores: Tensor, **sampling: Any) -> Artefact:
    return published.router(scores, NETWORK, "learning_to_cache", **sampling)


def _computed(policy: Policy, run: Run) -> list[str]:
    """Return for every step which of (attn, cross_attn, mlp) are computed, as digits."""
    plans = [
        policy.plan(Call(index=step, step=step, sigma=run.sigmas[step], run=run), Evidence(sites=SITES))
        for step in range(run.num_steps)
    ]
    return ["".join(str(int(plan[site] is Action.COMPUTE)) for site in SITES) for plan in plans]


def test_pairs_end_with_the_last_step() -> None:
    scores = torch.tensor([[5.0, -5.0, 0.0]]).expand(6, 3)
    assert _computed(_policy(_router(scores)), published.even_run(6)) == [
        "111",
        "101",
        "111",
        "101",
        "111",
        "101",
    ]


def test_with_an_odd_number_of_steps_the_first_two_are_full() -> None:
    scores = torch.full((5, 3), -5.0)
    assert _computed(_policy(_router(scores)), published.even_run(5)) == ["111", "111", "000", "111", "000"]


@pytest.mark.parametrize(
    ("threshold", "computed"), [(0.0, "111"), (0.1, "101"), (0.5, "100"), (0.9, "100"), (1.0, "000")]
)
def test_a_site_is_computed_where_the_sigmoid_is_above_the_threshold(threshold: float, computed: str) -> None:
    """sigmoid(3) = 0.95, sigmoid(-200) is 0 in floating point, sigmoid(0) = 0.5 is not above 0.5."""
    router = _router(torch.tensor([[3.0, -200.0, 0.0]]).expand(2, 3))
    assert _computed(_policy(router, threshold=threshold), published.even_run(2))[1] == computed


def test_each_cached_step_has_its_own_row() -> None:
    scores = torch.full((4, 3), -5.0)
    scores[1, 0] = scores[3, 2] = 5.0
    scores[0] = scores[2] = 5.0
    assert _computed(_policy(_router(scores)), published.even_run(4)) == ["111", "100", "111", "001"]


def test_other_steps_follow_the_nearest_cached_row() -> None:
    """Full rows hold nothing that was trained for a cached step, so none of them is followed."""
    scores = torch.full((4, 3), 5.0)
    scores[1], scores[3] = torch.tensor([5.0, -5.0, -5.0]), torch.tensor([-5.0, -5.0, 5.0])
    policy = _policy(_router(scores, sigmas=(1.0, 0.75, 0.5, 0.25, 0.0)))
    assert _computed(policy, published.even_run(8)) == [
        "111",
        "100",
        "111",
        "100",
        "111",
        "001",
        "111",
        "001",
    ]


def test_the_published_counts_give_the_published_ratio() -> None:
    """DDIM-20 on DiT-XL/2: 312 of 560 layers computed in cached steps, 44.3 % of them reused."""
    counts = {1: 0, 3: 0, 5: 4, 7: 8, 9: 26, 11: 53, 13: 55, 15: 55, 17: 55, 19: 56}
    scores = torch.full((20, 56), 5.0)
    for step, count in counts.items():
        scores[step, count:] = -5.0
    sites = published.pixart_sites(28)[:56]
    router = published.router(scores, published.architecture("pixart", sites), "learning_to_cache")
    ratio = predict_refresh_ratio(_policy(router), published.even_run(20), sites)
    assert ratio == pytest.approx((560 + 312) / 1120)


def test_several_calls_of_a_step_follow_its_row() -> None:
    scores = torch.full((2, 3), -5.0)
    run = Run(sigmas=(1.0, 0.5, 0.0), sampler="heun", call_steps=(0, 0, 1))
    assert predict_refresh_ratio(_policy(_router(scores)), run, SITES) == pytest.approx(2 / 3)


def test_without_a_router_everything_is_computed() -> None:
    assert predict_refresh_ratio(_policy(None), published.even_run(4), SITES) == 1.0


def test_a_mask_is_no_router() -> None:
    mask = published.mask(torch.ones(2, 3, dtype=torch.bool), NETWORK)
    with pytest.raises(
        ConfigError, match=r"'router' is 'mask.safetensors', expected an artefact of kind 'router'"
    ):
        _policy(mask)


def test_a_run_of_other_steps_is_refused_where_sigmas_are_unknown() -> None:
    with pytest.raises(ValueError, match="does not say its noise levels"):
        _policy(_router(torch.zeros(4, 3))).check_run(published.even_run(5))

"""HarmoniCa's rows and threshold, counted by hand."""

from __future__ import annotations

import published
import pytest
import torch
import toy
from torch import Tensor

from cache_core import (
    POLICIES,
    Action,
    Artefact,
    ArtefactError,
    Call,
    Evidence,
    Level,
    Policy,
    Run,
    predict_refresh_ratio,
)

SITES = published.pixart_sites(1)
NETWORK = published.architecture("pixart", SITES)


def _policy(router: Artefact | None, threshold: float = 0.1) -> Policy:
    policy = POLICIES["harmonica"]
    return policy(policy.config_type(router=router, threshold=threshold))


def _computed(policy: Policy, run: Run) -> list[str]:
    plans = [
        policy.plan(Call(index=step, step=step, sigma=run.sigmas[step], run=run), Evidence(sites=SITES))
        for step in range(run.num_steps)
    ]
    return ["".join(str(int(plan[site] is Action.COMPUTE)) for site in SITES) for plan in plans]


def _scores(*rows: str) -> Tensor:
    return torch.tensor([[5.0 if digit == "1" else -5.0 for digit in row] for row in rows])


def test_every_step_has_its_row_and_the_first_is_full() -> None:
    router = published.router(_scores("000", "010", "000", "101"), NETWORK)
    assert _computed(_policy(router), published.even_run(4)) == ["111", "010", "000", "101"]


def test_threshold_zero_computes_everything_however_low_the_score() -> None:
    router = published.router(torch.full((4, 3), -1e30), NETWORK)
    assert _computed(_policy(router, 0.0), published.even_run(4)) == ["111"] * 4


def test_a_step_of_another_schedule_follows_the_nearest_row() -> None:
    router = published.router(_scores("111", "000"), NETWORK, sigmas=(1.0, 0.5, 0.0))
    assert _computed(_policy(router), published.even_run(4)) == ["111", "111", "000", "000"]


def test_the_refresh_ratio_is_that_of_the_file() -> None:
    router = published.router(published.half_scores(10, 3), NETWORK)
    table = router.tensors["score"] > 0
    table[0] = True
    assert predict_refresh_ratio(_policy(router), published.even_run(10), SITES) == pytest.approx(
        float(table.float().mean())
    )


def test_a_session_refuses_a_run_that_the_router_is_not_for() -> None:
    with pytest.raises(ArtefactError, match="it does not say its noise levels"):
        toy.open_session(_policy(published.router(torch.zeros(5, 3), NETWORK)), steps=4)


def test_a_feature_stays_until_it_is_recomputed() -> None:
    """The first MLP runs in steps 0 and 3, the second in 0 and 1; in between their outputs stand still."""
    network = toy.ToyDiT()
    sites = toy.ToyAdapter(network).sites(Level.MODULE)
    scores = torch.tensor([[5.0, 5.0], [-5.0, 5.0], [-5.0, -5.0], [5.0, -5.0]])
    router = published.router(scores, published.architecture("toy", sites))
    session = toy.open_session(_policy(router))
    outputs = [
        toy.call(session, network, torch.full((1, 1), float(x)), [toy.lane()]).item()
        for x in (1, 10, 100, 1000)
    ]
    # x + 2x, then + 2 of that; later 10 + 2 = 12 and + 24; 100 + 2 + 24; 1000 + 2000 + 24.
    assert outputs == [9, 36, 126, 3024]
    assert network.num_runs == 4

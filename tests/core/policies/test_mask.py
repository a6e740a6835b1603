"""Masks: what the table says, at any level."""

from __future__ import annotations

import published
import pytest
import torch

from cache_core import (
    POLICIES,
    Action,
    Architecture,
    Artefact,
    Call,
    Evidence,
    Kind,
    Level,
    Policy,
    Run,
    Sampling,
    Site,
    predict_refresh_ratio,
)

STACK = Site(level=Level.STACK, path="blocks", index=0, part="residual")


def _steps(*full: int, of: int) -> Artefact:
    """Return a list of full steps: a mask for the stack."""
    return Artefact(
        kind=Kind.MASK,
        method="mask",
        architecture=Architecture(family="flux", level=Level.STACK, sites=(str(STACK),)),
        sampling=Sampling(num_steps=of),
        tensors={"compute": torch.tensor([[step in full] for step in range(of)])},
    )


def _policy(mask: Artefact | None, **settings: int) -> Policy:
    policy = POLICIES["mask"]
    return policy(policy.config_type(mask=mask, **settings))


def _full(policy: Policy, run: Run) -> list[int]:
    evidence = Evidence(sites=(STACK,))
    calls = [Call(index=step, step=step, sigma=run.sigmas[step], run=run) for step in range(run.num_steps)]
    return [call.step for call in calls if policy.plan(call, evidence)[STACK] is Action.COMPUTE]


def test_a_list_of_full_steps_is_followed_at_level_stack() -> None:
    policy = _policy(_steps(0, 3, 4, 9, of=10))
    assert policy.level is Level.STACK
    assert _full(policy, published.even_run(10)) == [0, 3, 4, 9]


def test_the_first_step_is_full_whatever_the_mask_says() -> None:
    assert _full(_policy(_steps(2, of=4)), published.even_run(4)) == [0, 2]


@pytest.mark.parametrize(("full_every", "full"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 3, 4]), (1000, [0, 3])])
def test_steps_can_be_full_on_top_of_the_mask(full_every: int, full: list[int]) -> None:
    assert _full(_policy(_steps(0, 3, of=5), full_every=full_every), published.even_run(5)) == full


def test_the_refresh_ratio_is_that_of_the_table() -> None:
    sites = published.flux_sites()
    table = torch.rand(8, len(sites), generator=torch.Generator().manual_seed(0)) < 0.4
    table[0] = True
    mask = published.mask(table, published.architecture("flux", sites))
    assert predict_refresh_ratio(_policy(mask), published.even_run(8), sites) == pytest.approx(
        float(table.float().mean())
    )

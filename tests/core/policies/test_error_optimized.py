"""Error-Optimized Cache on the toy, whose features are twice its input: priors made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import toy
from torch import Tensor

from cache_core import CORRECTIONS, Architecture, Artefact, Kind, Level, Policy, Sampling

SITE = "blocks.0.mlp"


def _prior(rows: Sequence[float] | Tensor, change: Sequence[float] | None = None, **changes: Any) -> Artefact:
    """Return a prior of one site: `rows` (T,) or (T, G, D) differences, `change` (T,) relative ones."""
    differences = rows if isinstance(rows, Tensor) else torch.tensor(rows)[:, None, None]
    profile = torch.ones(len(differences), 1) if change is None else torch.tensor(change)[:, None]
    fields: dict[str, Any] = {
        "kind": Kind.PRIOR,
        "method": "error_optimized",
        "architecture": Architecture(family="toy", level=Level.MODULE, sites=(SITE,)),
        "sampling": Sampling(num_steps=len(differences)),
        "tensors": {f"prior.{SITE}.0.0": differences.to(torch.bfloat16), "profile": profile},
    }
    return Artefact(**(fields | changes))


def _corrected(prior: Artefact | None, inner: Policy | None = None, **settings: Any) -> Policy:
    correction = CORRECTIONS["error_optimized"]
    config = correction.config_type(prior=prior, **settings)
    return correction(inner or toy.fora(interval=4, anchor="start"), config)


def _features(policy: Policy, inputs: Sequence[float], **run: Any) -> list[float]:
    """Return the MLP output that the block used in every call: the network's output less its input."""
    session, network = toy.open_session(policy, len(inputs), **run), toy.ToyDiT(1)
    return [
        toy.call(session, network, torch.full((1, 1, 1), float(x)), [toy.lane()]).item() - x for x in inputs
    ]


def test_the_average_differences_since_the_computed_step_are_added() -> None:
    """Computed 2 and 10 in calls 0 and 4; differences 1, 2, 4, 8 and 16, 32, 64, of which the fifth step's is not reused."""
    prior = _prior([0.0, 1, 2, 4, 8, 16, 32, 64])
    expected = [2, 3, 5, 9, 10, 26, 58, 122]
    assert _features(_corrected(prior), [1, 1, 1, 1, 5, 5, 5, 5]) == expected


def test_theta_is_the_part_of_the_error_that_is_taken_away() -> None:
    assert _features(_corrected(_prior([0.0, 1, 2, 4]), theta=0.5), [1, 1, 1, 1]) == [2, 2.5, 3.5, 5.5]


def test_the_multiplicative_form_is_the_papers_equation() -> None:
    """f * (1 + theta * E) with f = 2 and E = 1, 3, 7."""
    found = _features(_corrected(_prior([0.0, 1, 2, 4]), theta=0.01, form="multiplicative"), [1, 1, 1, 1])
    assert found == pytest.approx([2, 2 * 1.01, 2 * 1.03, 2 * 1.07])


def test_only_large_differences_are_corrected() -> None:
    """Relative changes 0.25 each: after one and two steps they are below 0.75, after three they reach it."""
    prior = _prior([0.0, 1, 2, 4], change=[0.0, 0.25, 0.25, 0.25])
    assert _features(_corrected(prior, magnitude=0.75), [1, 1, 1, 1]) == [2, 2, 2, 9]


@pytest.mark.parametrize(("trend", "last"), [(0.01, 4.0), (-1.0, 4.0 - 3)])
def test_a_difference_that_turns_back_is_not_corrected(trend: float, last: float) -> None:
    """Computed 4 in call 2, where features went up by 5; the next step goes down by 3."""
    prior, inner = _prior([0.0, 1, 5, -3]), toy.fora(interval=2, anchor="start")
    assert _features(_corrected(prior, inner, trend=trend), [1, 1, 2, 2])[3] == last


def test_the_trend_is_a_cosine() -> None:
    """Differences (1, 0) and (1, 1): cosine 0.71."""
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])[:, None]
    network, errors = toy.ToyDiT(1), []
    for trend in (0.7, 0.72):
        policy = _corrected(_prior(rows), toy.threshold(threshold=0.1), trend=trend)
        session = toy.open_session(policy, 3)
        for value in (1.0, 4.0, 4.0):
            output = toy.call(session, network, torch.full((1, 1, 2), value), [toy.lane(shape=(1, 1, 2))])
        errors.append((output - 12).flatten().tolist())
    assert errors == [[1.0, 1.0], [0.0, 0.0]]


def test_the_first_step_has_no_direction_to_keep() -> None:
    assert _features(_corrected(_prior([0.0, -1]), trend=1.0), [1, 1]) == [2, 1]


def test_every_group_of_tokens_has_its_own_error() -> None:
    prior = _prior(torch.tensor([[0.0, 0.0], [1.0, 2.0]])[:, :, None])  # (2, 2, 1)
    session, network = toy.open_session(_corrected(prior), 2), toy.ToyDiT(1)
    tokens, lane = torch.ones(1, 4, 1), toy.lane(shape=(1, 4, 1))
    toy.call(session, network, tokens, [lane])
    assert toy.call(session, network, tokens, [lane]).flatten().tolist() == [4.0, 4.0, 5.0, 5.0]


def test_a_run_of_other_steps_follows_the_nearest_noise_levels() -> None:
    """Sigmas 1, .75, .5, .25 of the prior; two steps at 1 and .5 skip its second, so E is 1 + 2."""
    prior = _prior([0.0, 1, 2, 4], sampling=Sampling(num_steps=4, sigmas=(1.0, 0.75, 0.5, 0.25, 0.0)))
    policy = _corrected(prior)
    assert _features(policy, [1, 1]) == [2, 5]
    session = toy.open_session(policy, 2)
    assert len(session.notes) == 1 and "made for 4 steps" in session.notes[0]


def test_theta_zero_and_no_prior_are_the_bare_method() -> None:
    bare, inputs = toy.fora(interval=4, anchor="start"), [1, 2, 3, 4]
    for policy in (_corrected(_prior([0.0, 1, 2, 4]), bare, theta=0.0), _corrected(None, bare)):
        assert _features(policy, inputs) == _features(bare, inputs)
        assert policy.memory == bare.memory


def test_a_site_that_was_left_out_of_the_prior_is_reused_as_it_is() -> None:
    prior = _prior([0.0, 1])
    tensors = {"profile": prior.tensors["profile"], f"prior.{SITE}.1.0": prior.tensors[f"prior.{SITE}.0.0"]}
    assert _features(_corrected(_prior([0.0, 1], tensors=tensors)), [1, 1]) == [2, 2]


def test_it_is_reported_with_the_method_and_its_file() -> None:
    policy = _corrected(_prior([0.0, 1], name="x.safetensors"))
    assert policy.label == "FORA + Error-Optimized Cache"
    assert "prior='x.safetensors', theta=1.0" in policy.describe()


def test_a_prior_of_another_level_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"is for level 'module', the cache .*FORA.* reuses at level 'stack'. Calibrate"
    ):
        _corrected(_prior([0.0, 1]), toy.fora(level="stack"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"method": "other"}, "expected a prior of Error-Optimized Cache"),
        ({"tensors": {"prior.x.0.0": torch.zeros(2, 1, 1)}}, "expected a prior of Error-Optimized Cache"),
        (
            {"tensors": {"prior.x.0.0": torch.zeros(2, 1, 1), "profile": torch.zeros(2, 1)}},
            "no site of its own: prior.x.0.0",
        ),
        (
            {"tensors": {"prior": torch.zeros(2, 1, 1), "profile": torch.zeros(2, 1)}},
            "no site of its own: prior",
        ),
    ],
)
def test_a_prior_that_would_not_be_applied_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        _corrected(_prior([0.0, 1], **changes))


def test_a_mask_is_no_prior() -> None:
    mask = _prior([0.0, 1], kind=Kind.MASK, tensors={"compute": torch.ones(2, 1, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"'prior' is .*, expected an artefact of kind 'prior'"):
        _corrected(mask)


def test_branches_with_and_without_the_prompt_have_their_own_error() -> None:
    """The prior knows the prompt's branch only: the other is reused as it is."""
    session, network = toy.open_session(_corrected(_prior([0.0, 1])), 2), toy.ToyDiT(1)
    lanes = [toy.lane("cond"), toy.lane("uncond", role=1)]
    for _ in range(2):
        output = toy.call(session, network, torch.ones(2, 1, 1), lanes)
    assert output.flatten().tolist() == [4.0, 3.0]

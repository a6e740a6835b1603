"""Gradient-Optimized Cache on the toy, whose features are twice its input: forecasts doable in the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import toy

from cache_core import CORRECTIONS, Policy


def _corrected(inner: Policy | None = None, **settings: Any) -> Policy:
    correction = CORRECTIONS["gradient_optimized"]
    return correction(inner or toy.fora(interval=2, anchor="start"), correction.config_type(**settings))


def _features(policy: Policy, inputs: Sequence[float], **run: Any) -> list[float]:
    """Return the MLP output that the block used in every call: the network's output less its input."""
    session, network = toy.open_session(policy, len(inputs), **run), toy.ToyDiT(1)
    lanes = [toy.lane()]
    return [toy.call(session, network, torch.full((1, 1), float(x)), lanes).item() - x for x in inputs]


def test_a_feature_moves_on_by_its_last_change_per_call() -> None:
    """Computed 2, 6, 14 in calls 0, 2, 4: call 3 gets 6 + 4/2, call 5 gets 14 + 8/2; call 1 has no change to look at."""
    assert _features(_corrected(), [1, 2, 3, 5, 7, 9]) == [2, 2, 6, 8, 14, 18]


def test_eta_scales_the_step() -> None:
    """Half of 4/2, and half of 8/2."""
    assert _features(_corrected(eta=0.5), [1, 2, 3, 5, 7, 9]) == [2, 2, 6, 7, 14, 16]


def test_the_whole_change_is_the_papers_equation() -> None:
    """6 + 1.2 * 4 and 14 + 1.2 * 8, wherever between two computed calls."""
    found = _features(_corrected(eta=1.2, reach="whole change"), [1, 2, 3, 5, 7, 9])
    assert found == pytest.approx([2, 2, 6, 6 + 1.2 * 4, 14, 14 + 1.2 * 8])


def test_the_step_grows_with_the_distance() -> None:
    """Interval 3: computed 2 in call 0 and 8 in call 3, so calls 4 and 5 get 8 + 6/3 and 8 + 2 * 6/3."""
    inner = toy.fora(interval=3, anchor="start")
    assert _features(_corrected(inner), [1, 9, 9, 4, 9, 9]) == [2, 2, 2, 8, 10, 12]


def test_only_listed_steps_are_corrected() -> None:
    """The published list at 50 % leaves one step out: here step 3, so that call 5 alone is moved on."""
    assert _features(_corrected(steps="0-2, 4-19"), [1, 2, 3, 5, 7, 9]) == [2, 2, 6, 6, 14, 18]


@pytest.mark.parametrize(
    ("steps", "listed"),
    [
        ("3", {3}),
        ("3-5", {3, 4, 5}),
        (" 1 , 3 - 4", {1, 3, 4}),
        ("3-15,19", {*range(3, 16), 19}),
        ("5-3", set()),
    ],
)
def test_lists_of_steps_are_read(steps: str, listed: set[int]) -> None:
    """A line moves on evenly, so a step was corrected exactly where it is right: from call 3 on, in odd calls."""
    found = _features(_corrected(steps=steps), [float(x) for x in range(20)])
    right = {call for call in range(3, 20, 2) if found[call] == 2 * call}
    assert right == {step for step in listed if step % 2 and step >= 3}


@pytest.mark.parametrize("steps", ["", "some", "3-", "-3", "1;2", "3--5", "1.5"])
def test_what_is_no_list_is_refused(steps: str) -> None:
    with pytest.raises(ValueError, match=r"'steps' is '.*', expected 'all' or a list such as '3-15, 19'"):
        _corrected(steps=steps)


def test_eta_zero_is_the_bare_method_and_keeps_one_snapshot() -> None:
    bare = toy.fora(interval=2, anchor="start")
    inputs = [1.0, 2, 3, 5, 7, 9]
    assert _features(_corrected(bare, eta=0.0), inputs) == _features(bare, inputs)
    assert (_corrected(bare, eta=0.0).memory, _corrected(bare).memory) == (1, 2)


def test_a_window_after_full_calls_moves_on_by_one_call() -> None:
    """Reuse from sigma 0.5 down: calls 0 to 3 are full, so that the last change is that of one call."""
    session, network = (
        toy.open_session(_corrected(toy.fora(interval=9, anchor="start")), 5, reuse_from=0.5),
        toy.ToyDiT(1),
    )
    sigmas = (1.0, 0.9, 0.8, 0.4, 0.2)
    used = [
        toy.call(session, network, torch.full((1, 1), float(x)), [toy.lane()], sigma).item() - x
        for x, sigma in zip((1.0, 2, 4, 9, 9), sigmas, strict=True)
    ]
    assert used == [2, 4, 8, 8 + 4, 8 + 2 * 4]


def test_branches_have_their_own_change() -> None:
    session, network = toy.open_session(_corrected(), 4), toy.ToyDiT(1)
    lanes = [toy.lane("cond"), toy.lane("uncond")]
    for pair in ((1, 10), (0, 0), (3, 10), (0, 0)):
        output = toy.call(session, network, torch.tensor([[float(pair[0])], [float(pair[1])]]), lanes)
    assert output.flatten().tolist() == [8.0, 20.0]


def test_it_is_reported_with_the_method() -> None:
    policy = _corrected()
    assert policy.label == "FORA + Gradient-Optimized Cache"
    assert policy.describe().endswith("level=module; eta=1.0, reach=per call, steps=all")

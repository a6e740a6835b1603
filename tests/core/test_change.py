"""Change and schedule of Block Caching, done by hand."""

from __future__ import annotations

import pytest
import torch

from cache_core.ops.change import change_ratio, delta_for_reuse, refresh_schedule


def test_change_is_relative_to_the_feature_now() -> None:
    now, before = torch.tensor([[[4.0, -6.0]]]), torch.tensor([[[1.0, -4.0]]])
    assert change_ratio([now], [before]).tolist() == [0.5]


def test_streams_count_as_one_feature() -> None:
    """|3| + |0| over |4| + |6|."""
    now, before = (
        [torch.tensor([[4.0]]), torch.tensor([[6.0]])],
        [torch.tensor([[1.0]]), torch.tensor([[6.0]])],
    )
    assert change_ratio(now, before).tolist() == [pytest.approx(0.3)]


def test_pictures_of_a_batch_are_independent() -> None:
    now, before = torch.tensor([[2.0], [100.0]]), torch.tensor([[1.0], [100.0]])
    assert change_ratio([now], [before]).tolist() == [0.5, 0.0]


def test_half_precision_is_summed_in_single() -> None:
    """Sums of 70000 would be infinite in half precision."""
    now = torch.full((1, 70000), 2.0, dtype=torch.float16)
    change = change_ratio([now], [now / 2])
    assert (change.dtype, change.item()) == (torch.float32, 0.5)


@pytest.mark.parametrize(("before", "change"), [(0.0, 0.0), (3.0, 1.0)])
def test_a_feature_that_is_zero_has_a_finite_change(before: float, change: float) -> None:
    assert change_ratio([torch.zeros(1, 1)], [torch.full((1, 1), before)]).tolist() == [change]


def test_changes_add_up_until_delta_would_be_exceeded() -> None:
    """Sums from each refresh: .25, .5 | .75 -> refresh; .5 | 1.0 -> refresh; .25."""
    profile = torch.tensor([[9.0], [0.25], [0.25], [0.25], [0.5], [0.5], [0.25]])
    assert refresh_schedule(profile, 0.5).flatten().tolist() == [True, False, False, True, False, True, False]


def test_a_sum_equal_to_delta_is_still_reused() -> None:
    assert refresh_schedule(torch.tensor([[0.0], [0.5], [0.5]]), 1.0).flatten().tolist() == [
        True,
        False,
        False,
    ]


def test_every_site_has_its_own_schedule() -> None:
    profile = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.3, 0.9], [0.1, 0.3, 0.9]])
    assert refresh_schedule(profile, 0.5).int().tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]


def test_delta_zero_computes_everything_even_where_nothing_changes() -> None:
    assert bool(refresh_schedule(torch.zeros(4, 2), 0.0).all())


@pytest.mark.parametrize("reuse", [0.25, 0.5, 0.75])
def test_delta_for_a_share_of_reuse_gives_it_and_hardly_more(reuse: float) -> None:
    profile = torch.rand(20, 12, generator=torch.Generator().manual_seed(0))
    steps = range(20)
    delta = delta_for_reuse(profile, reuse, steps)
    reused = 1 - float(refresh_schedule(profile, delta).double().mean())
    assert reuse <= reused <= reuse + 1 / profile.numel() + 1e-9
    assert 1 - float(refresh_schedule(profile, delta * 0.999).double().mean()) < reuse


def test_delta_for_reuse_counts_calls_not_steps() -> None:
    """Step 1 has three of four calls: reusing it alone is three quarters."""
    profile = torch.tensor([[0.0], [0.5]])
    assert delta_for_reuse(profile, 0.75, [0, 1, 1, 1]) == pytest.approx(0.5, rel=1e-6)

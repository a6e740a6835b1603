"""Tokens in groups."""

from __future__ import annotations

import pytest
import torch

from cache_core.ops.tokens import as_tokens, group_means, most_groups, spread, turns_back


def test_groups_of_neighbours_have_their_mean() -> None:
    tokens = torch.tensor([[[1.0], [3.0], [5.0], [9.0]]])  # (1, 4, 1)
    assert group_means(tokens, 2).flatten().tolist() == [2.0, 7.0]
    assert group_means(tokens, 4).equal(tokens)
    assert group_means(tokens, 1).shape == (1, 1, 1)


def test_a_groups_value_is_spread_over_its_tokens() -> None:
    groups = torch.tensor([[2.0, -2.0], [7.0, -7.0]])  # (2, 2)
    feature = torch.zeros(3, 4, 2)
    assert spread(groups, feature)[:, 0].tolist() == [2.0, 2.0, 7.0, 7.0]
    assert spread(groups[:1], feature)[:, 1].tolist() == [-2.0] * 4
    assert spread(groups, torch.zeros(3, 2, 2)).equal(groups)


def test_more_or_fewer_tokens_than_before_follow_their_place() -> None:
    groups = torch.tensor([[1.0], [2.0]])
    assert spread(groups, torch.zeros(1, 5, 1)).flatten().tolist() == [1.0, 1.0, 1.0, 2.0, 2.0]
    assert spread(groups, torch.zeros(1, 1, 1)).flatten().tolist() == [1.0]


def test_pixels_are_tokens_as_wide_as_their_channels() -> None:
    pixels = torch.arange(12.0).reshape(1, 2, 2, 3)  # (B, C, H, W)
    tokens = as_tokens(pixels)
    assert tokens.shape == (1, 6, 2)
    assert tokens[0, 1].tolist() == [1.0, 7.0]
    assert spread(tokens[0], pixels).equal(pixels[0])
    assert as_tokens(torch.zeros(1, 2, 3, 4, 5)).shape == (1, 60, 2)


def test_what_is_spread_has_the_features_type() -> None:
    assert spread(torch.ones(1, 2), torch.zeros(1, 3, 2, dtype=torch.bfloat16)).dtype is torch.bfloat16


def test_one_value_serves_the_whole_width() -> None:
    assert spread(torch.ones(1, 1), torch.zeros(1, 3, 2)).equal(torch.ones(3, 2))
    assert spread(torch.ones(1, 1), torch.zeros(1, 2, 3, 3)).equal(torch.ones(2, 3, 3))


@pytest.mark.parametrize(
    ("budget", "groups"), [(10_000, 77), (2 * (77 + 8) - 1, 64), (2 * (4 + 4), 4), (1, 1)]
)
def test_as_many_groups_as_fit(budget: int, groups: int) -> None:
    """77 tokens and 8 tokens, 2 wide; the few keep one group each where the many are grouped."""
    assert most_groups([(77, 2), (8, 2)], budget) == groups


def test_features_turn_back_where_their_difference_does() -> None:
    """Of two features one turns in step 2 and the other goes on further; together they turn in step 3."""
    first, second = torch.tensor([0.0, 1, -1, 1]), torch.tensor([0.0, 2, 4, -8])
    features = [each[:, None, None] for each in (first, second)]
    assert turns_back(features[:1]).tolist() == [False, False, True, True]
    assert turns_back(features).tolist() == [False, False, False, True]

"""Who gets what of a budget. Every site below asks for four bytes."""

from __future__ import annotations

import itertools

import pytest
import toy

from cache_core import Lane, Level, Site
from cache_core.allowance import Allowance

SITES = [Site(level=Level.MODULE, path="blocks", index=index, part="mlp") for index in range(4)]
A, B, C = (toy.lane(name) for name in "abc")


def _granted(allowance: Allowance, asking: list[tuple[Lane, Site]]) -> set[tuple[str, int]]:
    granted = [(lane, site) for lane, site in asking if allowance.grant(lane, site, 4)]
    return {(str(lane.branch), site.index) for lane, site in granted}


def test_without_a_budget_everything_is_granted() -> None:
    assert Allowance(None, 1).grant(A, SITES[0], 10**15)


def test_the_last_sites_are_given_up_first() -> None:
    allowance = Allowance(8, 1)
    assert _granted(allowance, [(A, site) for site in SITES]) == {("a", 0), ("a", 1)}
    assert allowance.refused == (SITES[2], SITES[3])


def test_after_one_that_does_not_fit_smaller_ones_get_nothing_either() -> None:
    """Half of a block's features would cost memory and save no work."""
    allowance = Allowance(8, 1)
    assert [
        allowance.grant(A, site, num_bytes) for site, num_bytes in zip(SITES, (4, 6, 1), strict=False)
    ] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("lanes", list(itertools.permutations([A, B])))
def test_batched_and_separate_lanes_are_granted_the_same(lanes: tuple[Lane, Lane]) -> None:
    separate = [(lane, site) for lane in lanes for site in SITES]
    batched = [(lane, site) for site in SITES for lane in lanes]
    expected = {("a", 0), ("a", 1), ("b", 0), ("b", 1)}
    assert _granted(Allowance(17, 2), separate) == _granted(Allowance(17, 2), batched) == expected


def test_what_was_granted_is_granted_again() -> None:
    allowance = Allowance(8, 1)
    asking = [(A, site) for site in SITES]
    assert _granted(allowance, asking) == _granted(allowance, asking)


def test_a_lane_that_was_not_expected_gets_what_is_left() -> None:
    allowance = Allowance(12, 2)
    assert _granted(allowance, [(lane, site) for lane in (A, C, B) for site in SITES]) == {
        ("a", 0),
        ("c", 0),
        ("b", 0),
    }


def test_a_released_lane_leaves_its_room_to_others() -> None:
    allowance = Allowance(4, 1)
    assert allowance.grant(A, SITES[0], 4)
    assert not allowance.grant(B, SITES[0], 4)
    allowance.release(A)
    allowance.release(B)
    assert allowance.grant(B, SITES[0], 4)


def test_more_than_before_needs_room_and_ends_the_lane() -> None:
    allowance = Allowance(8, 1)
    assert allowance.grant(A, SITES[0], 4)
    assert allowance.grant(A, SITES[0], 8)
    assert not allowance.grant(A, SITES[0], 9)
    assert not allowance.grant(A, SITES[1], 1)

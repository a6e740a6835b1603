"""The search of a mask: what gaps cost each site, the parts and their time, the cheapest mask; on tiny made-up networks."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from cache_core import Call, Lane, Level, Recording, Run, Sample, Site
from cache_core.errors import CacheError
from cache_core.searching.beliefs import Belief, fitted
from cache_core.searching.lists import Steps
from cache_core.searching.mask_table import MaskTable
from cache_core.searching.masks import Mask, Parts, affordable_mask, cheapest_mask
from cache_core.searching.search import FROM_TABLE, Search
from cache_core.searching.site_record import SKETCH, SiteRecord, gap_costs

SIGMAS = (1.0, 0.9, 0.6, 0.4, 0.1, 0.0)
NUM_STEPS = 5
ALL_LISTS: list[Steps] = [
    (0, *rest) for size in range(NUM_STEPS) for rest in itertools.combinations(range(1, NUM_STEPS), size)
]


def _site(name: str) -> Site:
    path, index, part = name.split(".")
    return Site(level=Level.MODULE, path=path, index=int(index), part=part)


def _parts(seconds: dict[tuple[str, ...], float], names: Sequence[str] = ("a.0.x", "a.1.x")) -> Parts:
    return Parts(sites=tuple(map(_site, names)), pieces=tuple(seconds.items()), calls=(1,) * NUM_STEPS)


TWO = _parts({("a.0.x",): 1.0, ("a.1.x",): 3.0})
"""Two units of one group."""
APART = _parts({("a.0.x",): 1.0, ("b.0.x",): 3.0}, ("a.0.x", "b.0.x"))
"""Two units of two groups."""


def _costs(seed: int, num_units: int = 2) -> np.ndarray:
    """Return random costs of all gaps; none for those of one step, which leave nothing out."""
    found = np.random.default_rng(seed).random((num_units, NUM_STEPS, NUM_STEPS + 1))
    for start, end in itertools.product(range(NUM_STEPS), range(NUM_STEPS + 1)):
        if end <= start + 1:
            found[:, start, end] = 0.0 if end == start + 1 else np.inf
    return found


def _even_costs() -> np.ndarray:
    """Return costs of 1 for every step that is left out."""
    found = np.full((2, NUM_STEPS, NUM_STEPS + 1), np.inf)
    for start, end in itertools.combinations(range(NUM_STEPS + 1), 2):
        found[:, start, end] = end - start - 1
    return found


def _growing_costs(seed: int) -> np.ndarray:
    """Return costs that grow with every further step that is left out, at random rates."""
    rates, found = np.random.default_rng(seed).random((2, NUM_STEPS + 1)), _even_costs()
    for start, end in itertools.combinations(range(NUM_STEPS + 1), 2):
        found[:, start, end] = sum(rates[:, step] * (step - start) for step in range(start + 1, end))
    return found


def _total(costs: np.ndarray, mask: Mask) -> float:
    return sum(
        float(costs[unit, start, end])
        for unit, steps in enumerate(mask)
        for start, end in zip(steps, (*steps[1:], NUM_STEPS), strict=True)
    )


@pytest.mark.parametrize("seed", range(10))
def test_cheapest_mask_is_that_of_trying_all(seed: int) -> None:
    costs, prices = _costs(seed), np.random.default_rng(seed + 100).random((2, NUM_STEPS))
    found = cheapest_mask(costs, prices)

    def price(mask: Mask) -> float:
        return _total(costs, mask) + sum(
            prices[unit, k] for unit, steps in enumerate(mask) for k in steps if k
        )

    assert found == min(itertools.product(ALL_LISTS, repeat=2), key=price)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("limit", [0.3, 0.5, 0.8])
def test_no_mask_that_takes_no_longer_costs_less(seed: int, limit: float) -> None:
    costs = _costs(seed)
    found = affordable_mask(costs, TWO, limit)
    assert TWO.share(found) <= limit
    no_longer = [m for m in itertools.product(ALL_LISTS, repeat=2) if TWO.share(m) <= TWO.share(found)]
    assert _total(costs, found) == pytest.approx(min(_total(costs, mask) for mask in no_longer))


def test_whatever_costs_nothing_to_reuse_is_computed_once() -> None:
    costs = _costs(1)
    costs[0][np.isfinite(costs[0])] = 0.0
    assert affordable_mask(costs, TWO, 1.0)[0] == (0,)


def test_share_of_time_counts_each_unit_by_its_seconds_and_each_step_by_its_calls() -> None:
    assert TWO.share(((0, 2), (0,))) == pytest.approx((2 * 1 + 1 * 3) / (5 * 4))
    heun = Parts(sites=TWO.sites, pieces=TWO.pieces, calls=(2, 2, 2, 2, 1))
    assert heun.share(((0, 4), (0,))) == pytest.approx((3 * 1 + 2 * 3) / (9 * 4))


def test_sites_that_mainly_share_their_work_are_one_unit() -> None:
    names = ("d.0.img", "d.0.txt", "d.0.mlp")
    tied = _parts(
        {("d.0.img",): 0.1, ("d.0.txt",): 0.1, ("d.0.img", "d.0.txt"): 3.0, ("d.0.mlp",): 1.0}, names
    )
    assert tied.units == ((0, 1), (2,))
    assert tied.by_site(((0, 3), (0,))) == ((0, 3), (0, 3), (0,))
    assert tied.own[:, 0].tolist() == pytest.approx([3.2, 1.0])


def test_work_that_is_shared_by_units_is_done_where_any_of_them_is() -> None:
    names = ("b.0.attn", "b.0.mlp")
    parts = _parts({("b.0.attn",): 2.0, ("b.0.mlp",): 2.0, ("b.0.attn", "b.0.mlp"): 1.0}, names)
    assert parts.units == ((0,), (1,))
    assert parts.share(((0, 1), (0, 2))) == pytest.approx((2 * 2 + 2 * 2 + 3 * 1) / 25)


def test_groups_are_alike_parts_of_half_the_blocks() -> None:
    names = [f"d.{block}.{part}" for block in range(3) for part in ("attn", "mlp")] + ["s.0.x"]
    groups = _parts({}, names).groups
    assert groups == (
        "d.attn, first half",
        "d.mlp, first half",
        "d.attn, first half",
        "d.mlp, first half",
        "d.attn, second half",
        "d.mlp, second half",
        "s.x, first half",
    )


def test_cost_of_a_gap_is_what_reuse_moves_the_picture_by() -> None:
    features = torch.randn(2, NUM_STEPS, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = torch.tensor(SIGMAS, dtype=torch.float64)
    off = sum((features[:, 1] - features[:, k]) * (levels[k + 1] - levels[k]) for k in (2, 3))
    size = features.square().sum(2).mean(1)
    found = gap_costs(features, levels)
    torch.testing.assert_close(found[:, 1, 4], off.square().sum(1) / size)  # type: ignore[union-attr]
    assert found[:, 1, 2].tolist() == [0.0, 0.0]
    assert found[:, 3, 3].tolist() == [math.inf, math.inf]


def _lane(role: int) -> Lane:
    return Lane(
        branch=role, variant=0, shape=(1,), dtype=torch.float32, device=torch.device("cpu"), role=role
    )


def _show(record: SiteRecord, run: Run, features: torch.Tensor, roles: Sequence[int] = (0, 1)) -> None:
    """Show one site's features (R, T, B, N) to the record."""
    for role, step in itertools.product(roles, range(NUM_STEPS)):
        call = Call(index=step, step=step, sigma=SIGMAS[step], run=run)
        feature = (features[role, step, :, :3], features[role, step, :, 3:])
        record.see(Sample(call=call, lane=_lane(role), site=_site("a.0.x"), feature=feature))


RUN = Run(sigmas=SIGMAS, cfg=4.0)


def _features(width: int = 9) -> torch.Tensor:
    return torch.randn(2, NUM_STEPS, 2, width, generator=torch.Generator().manual_seed(2))


def test_a_site_is_recorded_as_guidance_mixes_it_and_pictures_are_averaged() -> None:
    record, features = SiteRecord(Level.MODULE, ("a.0.x",), RUN), _features()
    _show(record, RUN, features)
    record.close_run()
    mixed = (4 * features[0] - 3 * features[1]).movedim(0, 1).double()
    expected = gap_costs(mixed, torch.tensor(SIGMAS, dtype=torch.float64)).mean(0)
    torch.testing.assert_close(record.costs[0], expected, rtol=1e-5, atol=0)
    assert Recording(record).level is Level.MODULE


def test_some_numbers_of_a_large_feature_stand_for_all() -> None:
    records = [SiteRecord(Level.MODULE, ("a.0.x",), RUN) for _ in range(2)]
    features = _features(40 * SKETCH)
    _show(records[0], RUN, features)
    records[0].close_run()
    mixed = (4 * features[0] - 3 * features[1]).movedim(0, 1)
    whole = gap_costs(mixed, torch.tensor(SIGMAS)).mean(0)
    torch.testing.assert_close(records[0].costs[0, 0, 2:].float(), whole[0, 2:], rtol=0.15, atol=0)


def test_a_branch_that_was_not_seen_throughout_is_named() -> None:
    record = SiteRecord(Level.MODULE, ("a.0.x",), RUN)
    _show(record, RUN, _features(), roles=(0,))
    call = Call(index=3, step=3, sigma=0.4, run=RUN)
    record.see(Sample(call=call, lane=_lane(1), site=_site("a.0.x"), feature=(torch.ones(2, 9),)))
    with pytest.raises(CacheError, match=r"'a.0.x' was not seen in step 0"):
        record.close_run()


def test_features_that_are_not_finite_are_refused() -> None:
    record, features = SiteRecord(Level.MODULE, ("a.0.x",), RUN), _features()
    features[0, 2] = math.nan
    _show(record, RUN, features)
    with pytest.raises(CacheError, match="infinite or undefined"):
        record.close_run()


def test_weighed_table_predicts_what_the_real_runs_of_its_groups_had() -> None:
    table = MaskTable(_costs(3), APART, 2)
    assert table.groups == ("a.x, first half", "b.x, first half")
    assert table.every_second("b.x, first half") == ((0, 1, 2, 3, 4), (0, 2, 4))
    errors = dict(zip(table.groups, (0.3, 0.002), strict=True))
    weighed = table.weighed(errors)
    for group, error in errors.items():
        assert weighed.predicted(table.every_second(group), Belief()) == pytest.approx(error)


def test_prediction_adds_the_gaps_and_what_goes_on_from_one_unit_to_the_next() -> None:
    """Every step of a gap adds 1. Step 1 leaves out b; a is computed there, and reused for two steps; half the picture is a's."""
    table, mask = MaskTable(_even_costs(), APART, 3), ((0, 1, 4), (0, 2, 3, 4))
    for coupling in (0.5, 10.0):
        expected = (2 + 1) + coupling * 1 * (0.5 * 2)
        assert table.predicted(mask, Belief(coupling=coupling)) == pytest.approx(expected**0.5)


def test_where_everything_is_computed_together_coupling_adds_nothing() -> None:
    table, mask = MaskTable(_costs(2), APART, 3), ((0, 2, 3), (0, 2, 3))
    for coupling in (1.0, 100.0):
        assert table.predicted(mask, Belief(coupling=coupling)) ** 2 == pytest.approx(_total(_costs(2), mask))


def test_best_steps_for_everything_are_those_of_trying_all_and_in_the_family() -> None:
    for seed in range(10):
        costs = _costs(seed)
        lists = [(steps, steps) for steps in ALL_LISTS if len(steps) == 3]
        family = MaskTable(costs, APART, 3).near(((0, 1, 2), (0, 1, 3)), Belief())
        assert min(lists, key=lambda mask: _total(costs, mask)) in family


def test_without_coupling_units_go_their_own_ways_and_take_no_longer() -> None:
    mask = MaskTable(_costs(3), APART, 3).best(Belief(coupling=1e-9))
    assert mask[0] != mask[1]
    assert APART.share(mask) <= 3 / NUM_STEPS


def test_late_errors_that_matter_more_draw_the_steps_to_the_end() -> None:
    table = MaskTable(_even_costs() ** 2, APART, 3)
    early, late = (sum(table.best(Belief(slope=slope, coupling=1e9))[0]) for slope in (-9.0, 9.0))
    assert early < late


def test_neighbours_of_a_mask_are_other_steps_for_everything_and_the_family() -> None:
    table = MaskTable(_costs(1), APART, 3)
    near = table.near(((0, 1, 2), (0, 1, 2)), Belief())
    assert {((0, 1, 4), (0, 1, 4)), ((0, 2, 3), (0, 2, 3))} <= near
    assert table.best(Belief(coupling=1e-9)) in near
    assert table.near(((0, 1, 2), (0, 1, 3)), Belief()) < near
    assert len(set(table.apart)) == 2 and table.apart in near


def test_real_runs_tell_how_strong_the_coupling_is() -> None:
    table = MaskTable(_growing_costs(3), APART, 3)
    masks = list(itertools.product([steps for steps in ALL_LISTS if len(steps) == 3], repeat=2))
    for coupling in (1.0, 100.0):
        measured = {mask: 2 * table.predicted(mask, Belief(coupling=coupling)) for mask in masks}
        assert fitted(table.predicted, measured, table.beliefs).coupling == pytest.approx(coupling)


@pytest.mark.parametrize("coupling", [0.0, 100.0])
def test_search_of_a_mask_finds_whether_parts_may_go_their_own_ways(coupling: float) -> None:
    table = MaskTable(_growing_costs(3), APART, 3)

    def measure(mask: Mask) -> torch.Tensor:
        return torch.tensor([table.predicted(mask, Belief(coupling=coupling))])

    search: Search[Mask] = Search(table, {"even": ((0, 2, 4), (0, 2, 4))}, measure)
    for _ in range(8):
        search.step()
    assert search.best is not None
    assert (search.best.plan[0] == search.best.plan[1]) is (coupling > 0)
    assert all(APART.share(one.plan) <= 0.6 for one in search.tries)
    assert list(search.starts) == ["even", FROM_TABLE]


def test_masks_of_a_hundred_units_are_worked_out_at_once() -> None:
    draw = random.Random(1)
    names = [f"a.{block}.x" for block in range(100)]
    parts = _parts({(name,): draw.random() + 0.1 for name in names}, names)
    found = affordable_mask(_costs(5, 100), parts, 0.5)
    assert 0.48 < parts.share(found) <= 0.5

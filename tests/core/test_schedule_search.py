"""The schedule search: the table of gaps, the cheapest list, the descent; errors are made up or of toy trajectories."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cache_core import Architecture, CacheError, Kind, Level, Run, Sampling
from cache_core.forecasting import ForecastConfig
from cache_core.searching.beliefs import Belief, fitted
from cache_core.searching.lists import Steps, cheapest, computed, neighbours, share_of_calls
from cache_core.searching.outcome import (
    Rival,
    artefact_of,
    picture_of_errors,
    picture_of_lists,
    table,
    told,
    verdict,
    written,
)
from cache_core.searching.record import (
    coordinates,
    is_nearer,
    make_record,
    picture_errors,
    relative_errors,
    typical,
)
from cache_core.searching.search import FROM_TABLE, Search, Try
from cache_core.searching.table import GapTable
from cache_core.types import MODEL_SITE

SIGMAS = (1.0, 0.95, 0.85, 0.7, 0.6, 0.4, 0.3, 0.1, 0.0)
NUM_STEPS = 8
HALF = ForecastConfig(order=1, trust="half")


def _total(steps: Steps, num_steps: int, cost: dict[Steps, float]) -> float:
    """Sum up the costs by (last two full steps, end of the gap)."""
    ends = (*steps[1:], num_steps)
    return sum(cost[(*steps[max(i - 1, 0) : i + 1], end)] for i, end in enumerate(ends))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("num_full", [1, 2, 3, 5, 8])
def test_cheapest_list_is_that_of_trying_all(seed: int, num_full: int) -> None:
    """Random costs of every pair of full steps and gap: what a forecast of two features can depend on."""
    draw = random.Random(seed)
    keys = itertools.chain(
        itertools.combinations(range(NUM_STEPS + 1), 2), itertools.combinations(range(NUM_STEPS + 1), 3)
    )
    cost = {key: draw.random() for key in keys}
    lists = [(0, *rest) for rest in itertools.combinations(range(1, NUM_STEPS), num_full - 1)]
    best = min(lists, key=lambda steps: _total(steps, NUM_STEPS, cost))
    assert cheapest(NUM_STEPS, num_full, lambda steps, until: cost[(*steps[-2:], until)]) == best


@pytest.mark.parametrize("num_steps", [2, 5, 9, 30])
def test_cheapest_list_has_as_many_steps_as_asked(num_steps: int) -> None:
    for num_full in range(1, num_steps + 1):
        steps = cheapest(num_steps, num_full, lambda steps, until: float(until - steps[-1]) ** 2)
        assert len(set(steps)) == num_full
        assert (steps[0], max(steps) < num_steps) == (0, True)


def test_neighbours_have_one_step_elsewhere_and_keep_the_first() -> None:
    found = set(neighbours((0, 2, 3), 5))
    assert found == {(0, 1, 3), (0, 3, 4), (0, 1, 2), (0, 2, 4)}


def test_calls_of_a_list_are_counted_over_all_calls() -> None:
    heun = (0, 0, 1, 1, 2, 2, 3)
    assert share_of_calls((0, 3), heun) == pytest.approx(3 / 7)


def _trajectories(num_pictures: int = 2, width: int = 40) -> tuple[Run, Tensor, Tensor]:
    """Return a guided run, smooth outputs (R, T, P, width) of both prompts and final latents (P, width)."""
    generator = torch.Generator().manual_seed(3)
    run = Run(sigmas=SIGMAS, sampler="toy", call_steps=tuple(range(NUM_STEPS)), cfg=4.0)
    parts = torch.randn(3, 2, num_pictures, width, generator=generator)
    outputs = torch.stack([parts[0] + s * parts[1] + math.exp(-6 * s) * parts[2] for s in SIGMAS[:-1]], dim=1)
    return run, outputs, torch.randn(num_pictures, width, generator=generator)


def _table(settings: ForecastConfig = HALF) -> GapTable:
    """Return the table of lists of 4 steps."""
    run, outputs, latents = _trajectories()
    return GapTable(make_record(run, [outputs], [latents]), settings, 4)


def test_coordinates_keep_every_inner_product() -> None:
    vectors = torch.randn(2, 5, 300, generator=torch.Generator().manual_seed(1))
    found = coordinates(vectors)
    assert found.shape == (2, 5, 5)
    torch.testing.assert_close(found @ found.mT, vectors @ vectors.mT, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "settings", [HALF, ForecastConfig(order=2, trust="measured"), ForecastConfig(order=0), ForecastConfig()]
)
def test_cost_of_a_gap_is_what_euler_would_be_off_by(settings: ForecastConfig) -> None:
    """Forecast at full width, along the trajectories themselves, with the policy of the method."""
    from cache_core import POLICIES, Call, Snapshot, Target

    run, outputs, latents = _trajectories()
    policy = POLICIES["step_list"](
        POLICIES["step_list"].config_type(order=settings.order, trust=settings.trust)
    )
    calls = [Call(index=k, step=k, sigma=SIGMAS[k], run=run) for k in range(NUM_STEPS)]
    off = torch.zeros_like(latents)
    for k, (role, share) in itertools.product((4, 5, 6), enumerate((4.0, -3.0))):
        history = tuple(Snapshot(call=calls[k], value=outputs[role, k]) for k in (0, 1, 3))
        target = Target(call=calls[k], site=MODEL_SITE, stream=0, role=role)
        missed = policy.estimate(history, target) - outputs[role, k]
        off += share * missed * (SIGMAS[k + 1] - SIGMAS[k])
    expected = (off.norm(dim=1) / latents.norm(dim=1)).square()
    torch.testing.assert_close(_table(settings).cost((0, 1, 3), 7), expected, rtol=1e-3, atol=0)
    assert _table(settings).cost((0, 1, 3), 4).tolist() == [0.0, 0.0]


def test_error_is_predicted_from_the_gaps_with_later_ones_counting_by_the_slope() -> None:
    table = _table()
    early, late = (0, 3, 4, 5, 6, 7), (0, 1, 2, 3, 4, 7)
    assert table.predicted(early, Belief()) == pytest.approx(typical(table.cost((0,), 3).sqrt()))
    growth = table.predicted(late, Belief(slope=2.0)) / table.predicted(late, Belief())
    assert growth == pytest.approx(math.exp(4 / NUM_STEPS))


@pytest.mark.parametrize("slope", [-2.0, 0.0, 3.0])
def test_slope_is_found_again_from_errors_that_follow_it(slope: float) -> None:
    table = _table()
    lists = [(0, *rest) for rest in itertools.combinations(range(1, NUM_STEPS), 3)][::3]
    measured = {steps: 7.0 * table.predicted(steps, Belief(slope=slope)) for steps in lists}
    assert fitted(table.predicted, measured, table.beliefs).slope == pytest.approx(slope, abs=0.5)


def test_record_of_several_samplings_has_all_pictures() -> None:
    run, outputs, latents = _trajectories()
    record = make_record(run, [outputs, outputs[:, :, :1]], [latents, latents[:1]])
    assert record.outputs.shape == (3, 2, NUM_STEPS, 2 * NUM_STEPS)
    assert record.shares == (4.0, -3.0)
    assert record.scales.shape == (3,)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0])
def test_latents_that_mean_nothing_are_refused(wrong: float) -> None:
    run, outputs, latents = _trajectories()
    with pytest.raises(CacheError, match="infinite, undefined or zero throughout"):
        make_record(run, [outputs], [torch.full_like(latents, wrong)])


def test_without_guidance_there_is_one_role() -> None:
    run, outputs, latents = _trajectories()
    record = make_record(replace(run, cfg=1.0), [outputs[:1]], [latents])
    assert record.outputs.shape == (2, 1, NUM_STEPS, NUM_STEPS)
    assert record.shares == (1.0,)


def test_relative_error_is_per_picture_and_typical_of_decibels() -> None:
    uncached = torch.ones(2, 4)
    errors = relative_errors(uncached * torch.tensor([[1.1], [1.001]]), uncached)
    torch.testing.assert_close(errors, torch.tensor([0.1, 0.001]), rtol=1e-3, atol=0)
    assert typical(errors) == pytest.approx(0.01, rel=1e-3)
    assert typical(torch.zeros(2)) > 0


def test_error_of_pictures_is_that_of_their_psnr() -> None:
    uncached = torch.full((2, 4, 4, 3), 0.5)
    errors = picture_errors(uncached + torch.tensor([0.1, 0.7]).view(2, 1, 1, 1), uncached)
    torch.testing.assert_close(errors, torch.tensor([0.1, 0.5]))


def test_a_picture_that_broke_is_as_wrong_as_can_be() -> None:
    assert typical(torch.tensor([math.nan, 1.0])) > 1e4


@pytest.mark.parametrize(
    ("errors", "others", "expected"),
    [
        ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0], True),
        ([0.1, 4.0, 1.0], [1.0, 1.0, 1.0], False),
        ([1.0, 1.0], [1.0, 1.0], False),
        ([0.9], [1.0], True),
        ([0.9, math.nan], [1.0, 1.0], False),
    ],
    ids=["every picture", "by one picture's luck", "the same", "one picture", "a broken picture"],
)
def test_nearer_is_what_the_standard_error_does_not_explain(
    errors: list[float], others: list[float], expected: bool
) -> None:
    assert is_nearer(torch.tensor(errors), torch.tensor(others)) is expected


def test_pictures_that_differ_much_are_compared_one_by_one() -> None:
    """The worst picture is a hair further; the others, which are far nearer to begin with, are halved."""
    others = torch.tensor([0.001, 0.01, 1.0])
    assert is_nearer(torch.tensor([0.5, 0.5, 1.001]) * others, others)


def test_a_lower_mean_that_may_be_chance_does_not_take_the_place_of_the_best() -> None:
    errors = {(0, 2, 4, 6): [1.0, 1.0, 1.0], (0, 1, 3, 6): [0.2, 1.1, 1.1], (0, 1, 2, 4): [0.9, 0.8, 0.9]}
    search = Search(
        _table(), {"even": (0, 2, 4, 6), "rule": (0, 1, 3, 6)}, lambda plan: torch.tensor(errors[plan])
    )
    search.step(), search.step()
    assert search.tries[1].error < search.tries[0].error
    assert search.best == search.tries[0]
    search.tries.append(Try(plan=(0, 1, 2, 4), errors=tuple(errors[0, 1, 2, 4])))
    assert search.best == search.tries[2]


def _search(error: dict[Steps, float] | None = None, **starts: Steps) -> tuple[Search[Steps], list[Steps]]:
    """Return a search of 4 of 8 steps whose errors are made up, and the lists it measures."""
    seen: list[Steps] = []
    draw = random.Random(5)

    def measure(steps: Steps) -> Tensor:
        seen.append(steps)
        return torch.tensor([draw.random() + 0.5 if error is None else error.get(steps, 1.0)])

    return Search(_table(), starts, measure), seen


def test_search_begins_with_what_it_is_given_and_the_tables_own() -> None:
    search, seen = _search(even=(0, 2, 4, 6), rule=(0, 1, 3, 6))
    for _ in range(3):
        search.step()
    assert seen == [(0, 2, 4, 6), (0, 1, 3, 6), search.starts[FROM_TABLE]]
    assert search.starts[FROM_TABLE] == _table().best(Belief())


def test_result_is_never_worse_than_a_start_and_every_list_has_the_asked_length() -> None:
    search, seen = _search(even=(0, 2, 4, 6), rule=(0, 1, 3, 6))
    while search.step():
        assert len(seen) < 100
    assert search.best is not None
    assert search.best.error == min(one.error for one in search.tries)
    assert search.best.error <= min(one.error for one in search.tries[:3])
    assert {len(set(steps)) for steps in seen} == {4}
    assert len(set(seen)) == len(seen)


def test_search_descends_to_the_best_list_of_a_sum_over_gaps() -> None:
    """Errors as the table predicts them at another slope: the fit finds it, and the search its best list."""
    table = _table()
    lists = [(0, *rest) for rest in itertools.combinations(range(1, NUM_STEPS), 3)]
    error = {steps: 3 * table.predicted(steps, Belief(slope=5.0)) for steps in lists}
    search, _ = _search(error, even=(0, 2, 4, 6))
    for _ in range(10):
        search.step()
    assert search.best is not None
    assert search.best.plan == min(error, key=lambda steps: error[steps])


def test_search_ends_when_no_list_is_left() -> None:
    search, seen = _search()
    while search.step():
        assert len(seen) < 100
    assert search.best is not None
    assert set(neighbours(search.best.plan, NUM_STEPS)) <= set(seen)


def test_a_run_that_raises_ends_the_search_and_leaves_the_best_list() -> None:
    search, seen = _search({}, even=(0, 2, 4, 6))
    search.step()

    def interrupt(steps: Steps) -> Tensor:
        raise KeyboardInterrupt

    search._measure = interrupt
    with pytest.raises(KeyboardInterrupt):
        search.step()
    assert search.best == Try(plan=(0, 2, 4, 6), errors=(1.0,))
    assert len(seen) == 1


ARCHITECTURE = Architecture(family="toy", level=Level.MODEL, sites=("output",))
SAMPLING = Sampling(num_steps=NUM_STEPS, sigmas=SIGMAS, sampler="toy")
RIVALS = (
    Rival(name="this list", key="found", errors=(0.01,)),
    Rival(name="4 plain steps", key="fewer_steps", errors=(0.1,)),
)


def test_artefact_holds_the_list_and_the_predicted_errors() -> None:
    measured = {"refresh_ratio": 0.5, "error_when_searched": 0.02}
    compute = computed([(0, 2, 3, 6)], NUM_STEPS)
    artefact = artefact_of(Kind.STEPS, compute, ARCHITECTURE, SAMPLING, {"tries": 9}, measured, RIVALS)
    assert (artefact.kind, artefact.method) == (Kind.STEPS, "step_list")
    assert artefact.tensors["compute"].flatten().nonzero().flatten().tolist() == [0, 2, 3, 6]
    rivals = {"error_found": pytest.approx(0.01), "error_fewer_steps": pytest.approx(0.1)}
    assert artefact.measured == measured | rivals


def test_errors_are_told_in_per_cent_and_decibels() -> None:
    assert told(0.01, "pictures") == "PSNR 40.0 dB"
    assert told(0.01, "latents") == "1.00% of the latents, 40.0 dB below them"
    assert table(RIVALS, "latents").splitlines()[1].startswith("4 plain steps: 10.00%")
    assert written((0, 2, 3)) == "0, 2, 3"


@pytest.mark.parametrize(
    ("found", "other", "text"),
    [
        ((0.1, 0.1), (0.2, 0.3), "this list is nearer than 4 plain steps, beyond the standard error"),
        ((0.2, 0.3), (0.1, 0.1), "4 plain steps is nearer than this list, beyond the standard error"),
        (
            (0.1, 0.1),
            (0.3, 0.05),
            "this list is nearer than 4 plain steps, which may be chance: so few pictures do not tell",
        ),
        (
            (0.1,),
            (0.3,),
            "this list is nearer than 4 plain steps, which may be chance: so few pictures do not tell",
        ),
        ((0.1,), (0.1,), "this list is as near as 4 plain steps"),
    ],
)
def test_the_text_says_which_way_is_nearest_and_how_sure_that_is(
    found: tuple[float, ...], other: tuple[float, ...], text: str
) -> None:
    rivals = [replace(RIVALS[0], errors=found), replace(RIVALS[1], errors=other)]
    assert verdict([*rivals, Rival(name="even spacing", key="even", errors=(9.0,) * len(found))]) == text


def test_pictures_show_the_lists_and_the_best_so_far() -> None:
    search, _ = _search({(0, 1, 3, 6): 0.5}, even=(0, 2, 4, 6), rule=(0, 1, 3, 6))
    assert [len(series.x) for series in picture_of_errors(search.tries, "latents").series] == [0, 0]
    for _ in range(3):
        search.step()
    assert search.best is not None
    steps = picture_of_lists({**search.starts, "best so far": search.best.plan}, NUM_STEPS)
    assert list(steps.rows) == ["even", "rule", FROM_TABLE, "best so far"]
    assert steps.values[3].tolist() == [1, 1, 0, 1, 0, 0, 1, 0]
    assert picture_of_errors(search.tries, "latents").series[1].y == pytest.approx((100.0, 50.0, 50.0))


def test_best_list_of_the_table_has_the_lowest_predicted_error_of_all() -> None:
    """By the geometric mean over pictures, whose errors differ a hundredfold; and with an exact forecast nothing is an error."""
    run, outputs, latents = _trajectories()
    table = GapTable(make_record(run, [outputs], [latents * torch.tensor([[1.0], [100.0]])]), HALF, 4)
    lists = [(0, *rest) for rest in itertools.combinations(range(1, NUM_STEPS), 3)]
    for slope in (-3.0, 0.0, 3.0):
        belief = Belief(slope=slope)
        assert table.best(belief) == min(lists, key=lambda steps: table.predicted(steps, belief))
    still = GapTable(make_record(run, [outputs[:, :1].expand_as(outputs)], [latents]), HALF, 4)
    assert still.predicted(still.best(Belief()), Belief()) < 1e-5

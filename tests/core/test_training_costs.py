"""What a site costs, and a training that is asked for a speed: budgets met, shared work, refusals, and the saved times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lessons
import pytest
import torch
from torch import Tensor

from cache_core import CacheError, ConfigError, Level, Run, Site
from cache_core.training.costs import NUM_CALLS, Costs, costs_of, count_for
from cache_core.training.method import TRAININGS, Lesson
from cache_core.training.penalty import LEAST, Penalty
from cache_core.training.router import Router
from cache_core.training.trainer import Progress, Saving, Trainer

METHODS = ("learning_to_cache", "harmonica")


def make(name: str, lesson: Lesson, **settings: Any) -> Any:
    """Return a training."""
    cls = TRAININGS[name]
    return cls(cls.config_type(**settings), lesson)


def trainer(
    name: str, path: Path | None = None, mlp: float = 3.0, iterations: int = 4, **settings: Any
) -> Any:
    """Return a trainer on a pupil whose MLPs take so many seconds, and whose attention takes one."""
    lesson = lessons.lesson(recompute=False)
    lesson.trajectory.seconds["mlp"] = mlp  # type: ignore[attr-defined]
    lesson.trajectory.call_seconds = 3 * (2 + mlp)  # type: ignore[attr-defined]
    return Trainer(make(name, lesson, **settings), iterations, {"name": name}, Saving(path=path, every=1))


def ignore(progress: Progress) -> None:
    """Take no notice."""


def observed(costs: Costs, prices: Tensor, wanted: float) -> Penalty:
    """Return a penalty that has seen the prices (T, S): with threshold and shares 0.5 they are the gradients."""
    penalty = Penalty(costs, range(len(prices)), threshold=0.5, wanted=wanted, fixed=None)
    for row, each in enumerate(prices):
        penalty.observe(row, torch.full_like(each, 0.5), -each)
    return penalty


def random(*shape: int, seed: int = 0) -> Tensor:
    """Return numbers (shape) over three orders of magnitude."""
    return 10 ** (3 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)))


def quantile(prices: Tensor, wanted: float) -> float:
    """Return the penalty that leaves a share of the sites above it, by their number alone."""
    ordered = prices.flatten().sort().values
    num_reused = min(max(round((1 - wanted) * len(ordered)), 0), len(ordered))
    if num_reused in (0, len(ordered)):
        return LEAST if not num_reused else 2 * float(ordered[-1])
    return float(ordered[num_reused - 1 : num_reused + 1].mean())


@pytest.mark.parametrize("wanted", [-0.1, 0.0, 0.1, 0.35, 0.5, 0.65, 0.75, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_with_equal_costs_the_penalty_is_the_plain_quantile_bit_for_bit(seed: int, wanted: float) -> None:
    # 5 x 6 sites: halves of a site come up, where rounding decides.
    penalty = observed(Costs.even(5, 6), random(5, 6, seed=seed), wanted)
    assert penalty.weight == quantile(penalty.state()["prices"], wanted)
    assert torch.equal(penalty.on(0), torch.full((6,), penalty.weight))


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("wanted", [0.2, 0.5, 0.8])
def test_the_steered_penalty_meets_a_budget_of_time_though_costs_are_very_unequal(
    wanted: float, is_shared: bool
) -> None:
    own, groups = random(300, seed=1), range(0, 300, 3)
    shared = tuple(((i, i + 1, i + 2), float(random(1, seed=i))) for i in groups) if is_shared else ()
    costs = Costs(own=own, shared=shared, calls=torch.tensor([2.0, 2.0, 2.0, 1.0]))
    prices = random(4, 300, seed=2)
    penalty = observed(costs, prices, wanted)
    computed = torch.stack([prices[row] > penalty.on(row) for row in range(4)])
    assert costs.ratio(computed) == pytest.approx(wanted, abs=0.02)
    # As many sites would be another time by far.
    assert abs(float(computed.float().mean()) - wanted) > 0.02


def test_work_that_sites_share_is_done_where_any_of_them_is_computed() -> None:
    costs = Costs(own=torch.ones(3), shared=(((0, 1), 7.0),), calls=torch.ones(1))
    rows = ([0, 0, 1], [1, 0, 0], [0, 1, 1], [1, 1, 1])
    found = [costs.ratio(torch.tensor([row]) > 0) for row in rows]
    assert [ratio * 10 for ratio in found] == pytest.approx([1, 8, 9, 10])


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ([6.0, 6.0], [3.0, 3.0]),
        ([8.0, 4.0], [4.0, 2.0]),
        # Worth less per second than its own time is where the other pays for both: it pays for itself only.
        ([6.0, 1.0], [5.0, 1.0]),
        ([0.0, 0.0], [3.0, 3.0]),
    ],
)
def test_those_pay_for_shared_work_that_it_is_worth_it_for(
    prices: list[float], expected: list[float]
) -> None:
    costs = Costs(own=torch.ones(2), shared=(((0, 1), 4.0),), calls=torch.ones(1))
    assert costs.divided(torch.tensor([prices])).flatten().tolist() == pytest.approx(expected)


def pupil_sites(num_blocks: int) -> tuple[Site, ...]:
    """Return the sites of a pupil."""
    return lessons.PupilAdapter(lessons.Pupil(num_blocks)).sites(Level.MODULE)


def timed(run: Run, sites: Sequence[Site], *calls: tuple[float, list[float]]) -> Costs:
    """Return the costs where every site has work of its own, and calls and that work took so long."""
    return costs_of([lessons.report_of(run, [(str(site),) for site in sites], calls)], sites, run)


def test_blocks_of_the_same_make_cost_the_same_and_a_slow_moment_costs_nobody() -> None:
    run, usual = Run(sigmas=(1.0, 0.7, 0.5, 0.2, 0.0)), (15.0, [1.0, 3.0] * 3)
    # One call warms up, one waits inside of a block, one between blocks.
    first, slow, outside = (99.0, [9.0] * 6), (25.0, [1.0, 3.0, 11.0, 3.0, 1.0, 3.0]), (50.0, [1.0, 3.0] * 3)
    costs = timed(run, pupil_sites(3), first, slow, usual, outside)
    assert costs.own.tolist() == pytest.approx([0.5, 1.5] * 3)
    assert costs.outside == pytest.approx(3 / 12)


def test_a_block_of_another_make_costs_its_own() -> None:
    call = (15.0, [3.0, 3.0, 3.0, 3.0, 3.0])
    call[1][-1] = 9.0
    costs = timed(Run(sigmas=(1.0, 0.5, 0.0)), pupil_sites(3)[:-1], call, call)
    assert costs.own.tolist() == pytest.approx([5 / 7] * 4 + [15 / 7])


def test_a_step_of_two_calls_costs_twice_as_much() -> None:
    run = Run(sigmas=(1.0, 0.6, 0.0), sampler="heun", call_steps=(0, 0, 1))
    costs = timed(run, pupil_sites(1), *[(2.0, [1.0, 1.0])] * 3)
    assert costs.ratio(torch.tensor([[True, True], [False, False]])) == pytest.approx(2 / 3)


def test_a_count_is_the_one_whose_sum_is_nearest() -> None:
    costs = torch.tensor([1.0, 4.0, 1.0])
    assert [count_for(budget, costs) for budget in (-1.0, 0.4, 2.9, 3.1, 5.9, 9.0)] == [0, 0, 1, 2, 3, 3]


def test_the_threshold_that_meets_a_share_of_the_time_counts_what_each_site_takes() -> None:
    router = Router(2, 4, [1], seed=0)
    with torch.no_grad():
        router.rows["1"].copy_(torch.tensor([3.0, 2.0, 1.0, 0.0]))
    costs = Costs(own=torch.tensor([1.0, 1.0, 2.0, 4.0]), calls=torch.ones(2))
    # The full step is half; of the other, the first three of the sites are half of the time.
    assert router.computed(router.threshold_at(0.75, costs))[1].tolist() == [True, True, True, False]
    assert not router.computed(router.threshold_at(0.5, costs))[1].any()
    assert router.computed(router.threshold_at(1.0, costs)).all()


@pytest.mark.parametrize(("name", "speedup"), [("learning_to_cache", 1.3), ("harmonica", 1.6)])
def test_a_training_meets_the_speed_that_it_is_asked_for_and_says_so(name: str, speedup: float) -> None:
    lesson = lessons.lesson(steps=6, blocks=5, recompute=False)
    lesson.trajectory.seconds = {"attn": 1.0, "mlp": 4.0, "attn+mlp": 1.0}  # type: ignore[attr-defined]
    lesson.trajectory.call_seconds = 35.0  # type: ignore[attr-defined]
    done = Trainer(make(name, lesson, speedup=speedup, learning_rate=0.1), 30, {})
    lines: list[str] = []
    done.run(lambda progress: lines.append(str(progress)), lines.append)
    outcome = done.outcome()
    assert lines[0] == "measuring how long every site takes"
    assert "ideal speedup 1." in lines[-1]
    # Of 35 s of a call 30 are inside of the sites.
    computed = done.training.router.computed(outcome.threshold).view(6, 5, 2)
    seconds = 5.0 * 6 + float((computed * torch.tensor([1.0, 4.0])).sum() + computed.any(dim=2).sum())
    assert 6 * 35 / seconds == pytest.approx(outcome.measured["ideal_speedup"])
    assert outcome.measured["cost_ratio"] == pytest.approx((35 / speedup - 5) / 30, abs=0.02)
    assert outcome.made["wanted_speedup"] == speedup
    assert "wanted_refresh_ratio" not in outcome.made
    assert f"{speedup:g}x was asked for" in outcome.text


@pytest.mark.parametrize(
    ("name", "most", "text"),
    # A fifth of a call is outside: 5 / (4 * 0.5 + 1) and 5 / (4 * 0.25 + 1).
    [
        ("learning_to_cache", 1.66, r"at most 50%.*harmonica"),
        ("harmonica", 2.5, "always computes 25% of all"),
    ],
)
def test_a_speed_out_of_reach_is_refused_before_training_with_the_greatest_that_is_not(
    name: str, most: float, text: str
) -> None:
    asked = trainer(name, speedup=most + 0.01)
    with pytest.raises(ConfigError, match=rf"expected at most {most:g}: .*{text}") as refused:
        asked.run(ignore)
    assert "20% of an uncached sampling's time is spent outside" in str(refused.value)
    assert not asked.training.lesson.trajectory.drawn
    trainer(name, speedup=most, iterations=1).run(ignore)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"speedup": 1.5, "refresh_ratio": 0.6},
            "'refresh_ratio' is 0.6, expected one of the two: leave.* 0.75",
        ),
        ({"speedup": 1.5, "penalty": 0.1}, "'penalty' is 0.1, expected one of the two"),
        ({"speedup": 0.5}, "'speedup' is 0.5, expected at least 1"),
    ],
)
def test_two_aims_at_once_are_refused(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make("harmonica", lessons.lesson(), **settings)


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_training_keeps_the_times_that_it_began_with(name: str, tmp_path: Path) -> None:
    whole, path = trainer(name, speedup=1.3), tmp_path / "a.training"
    whole.run(ignore)

    def stop(progress: Progress) -> None:
        if progress.iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(name, path, speedup=1.3).run(stop)
    resumed = trainer(name, path, mlp=30.0, speedup=1.3)
    resumed.run(ignore)
    assert resumed.training.lesson.trajectory.num_timed == 0
    assert torch.equal(resumed.outcome().tensors["score"], whole.outcome().tensors["score"])
    assert resumed.outcome().measured == whole.outcome().measured


def test_a_short_schedule_is_timed_more_than_once() -> None:
    asked = trainer("harmonica", speedup=1.3, iterations=1)
    asked.run(ignore)
    # Of four steps, three are warm.
    assert asked.training.lesson.trajectory.num_timed * 3 >= NUM_CALLS


def test_nothing_is_timed_where_a_ratio_is_asked_for() -> None:
    asked = trainer("harmonica", refresh_ratio=0.6, iterations=1)
    asked.run(ignore)
    assert asked.training.lesson.trajectory.num_timed == 0


def test_costs_are_kept_in_a_file_as_they_are(tmp_path: Path) -> None:
    costs = Costs(own=random(3), shared=(((0, 2), 0.5),), calls=torch.tensor([2.0, 1.0]), outside=0.25)
    torch.save(costs.state(), tmp_path / "costs")
    found = Costs.restored(torch.load(tmp_path / "costs", weights_only=True))
    assert torch.equal(found.own, costs.own) and torch.equal(found.calls, costs.calls)
    assert (found.shared, found.outside) == (costs.shared, costs.outside)


def test_an_unreachable_ratio_is_still_refused_when_the_training_is_made() -> None:
    with pytest.raises(CacheError, match=r"'refresh_ratio' is 0.2, expected at least 0.25: Harmon"):
        make("harmonica", lessons.lesson(), refresh_ratio=0.2)

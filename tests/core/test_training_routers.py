"""Learning-to-Cache's and HarmoniCa's training on the pupil: what is mixed, what is learned, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lessons
import pytest
import torch
from torch import Tensor

from cache_core import (
    POLICIES,
    Artefact,
    CacheError,
    CacheSession,
    Call,
    Kind,
    Level,
    Sampling,
    fingerprint,
    scoped_forwards,
)
from cache_core.training.costs import Costs
from cache_core.training.harmonica import Denoising
from cache_core.training.learning_to_cache import Pairs
from cache_core.training.method import TRAININGS, Lesson, teach
from cache_core.training.penalty import LEAST, Penalty
from cache_core.training.router import ALWAYS, BOUND, Decided, Mixture
from cache_core.training.session import Computed
from cache_core.training.trajectory import Draw, Predict

METHODS = ("learning_to_cache", "harmonica")


def make(name: str, lesson: Lesson, **settings: Any) -> Any:
    """Return a training; by default one that may reuse as much as the method can."""
    cls = TRAININGS[name]
    return cls(cls.config_type(**settings), lesson)


def trained(name: str, iterations: int, lesson: Lesson, **settings: Any) -> tuple[Any, list[float]]:
    """Return a training after some iterations, and their losses."""
    training = make(name, lesson, **settings)
    return training, [training.iterate(number) for number in range(iterations)]


def image(lesson: Lesson, treat: Callable[[Call], Any], draw: Draw, *, keep: bool = True) -> Tensor:
    """Return the end of a sampling in which every call is treated as `treat` says."""
    session = lesson.session(Level.MODULE)

    def handle(call: Call, predict: Predict) -> Tensor:
        picture = teach(session, call, treat(call), predict)
        if keep:
            session.commit()
        return picture

    return lesson.trajectory.sample(draw, handle)


@pytest.mark.parametrize("name", METHODS)
def test_shares_of_0_and_1_give_what_a_cached_run_gives(name: str) -> None:
    lesson = lessons.lesson(steps=6)
    training = make(name, lesson)
    computed = torch.rand(6, len(training.sites), generator=torch.Generator().manual_seed(2)) > 0.5
    policy_type = POLICIES[name]
    router = Artefact(
        kind=Kind.ROUTER,
        method=name,
        architecture=fingerprint(lesson.adapter, Level.MODULE),
        sampling=Sampling(num_steps=6),
        tensors={"score": torch.where(computed, 5.0, -5.0)},
    )
    run = lesson.trajectory.run
    cached = CacheSession(policy_type(policy_type.config_type(router=router)), run, torch.device("cpu"))
    x, network = lessons.noise_of(7), lesson.adapter.network
    with torch.no_grad():
        for step, (sigma, later) in enumerate(zip(run.sigmas, run.sigmas[1:], strict=False)):
            with (
                cached.open_call(sigma),
                cached.open_pass(network, [lessons.lane(x)]) as opened,
                scoped_forwards(opened.patches),
            ):
                velocity = network(x, sigma, 0.0)
            assert cached.run.call_steps is not None and cached.run.call_steps[step] == step
            x = x + (later - sigma) * velocity

    full = [step for step in range(6) if step not in training.router.trained]
    computed[full] = True
    mixed = image(
        lesson,
        lambda call: Mixture(training.sites, computed[call.step].float()),
        Draw(prompt=0, seeds=(7,)),
    )
    torch.testing.assert_close(mixed, x)


@pytest.mark.parametrize("name", METHODS)
def test_the_router_meets_its_refresh_ratio_within_2_points_and_beats_random_ones_of_that_ratio(
    name: str,
) -> None:
    lesson = lessons.lesson(steps=6, blocks=5, recompute=False)
    training, _ = trained(name, 80, lesson, refresh_ratio=0.7, learning_rate=0.1)
    outcome = training.outcome()
    # Steering alone comes near; at a step this coarse scores still cross the threshold to and fro.
    assert training.figures()["refresh_ratio"] == pytest.approx(0.7, abs=0.08)
    assert outcome.measured["refresh_ratio"] == pytest.approx(0.7, abs=0.02)

    draw = Draw(prompt=0, seeds=tuple(range(500, 516)))
    truth = image(lesson, lambda call: Computed(), draw)
    computed = training.router.computed(outcome.threshold)

    def error(mask: Tensor) -> float:
        made = image(lesson, lambda call: Decided(training.sites, mask[call.step]), draw)
        return float((made - truth).square().mean())

    own = list(training.router.trained)
    others = []
    for seed in range(20):
        order = torch.randperm(computed[own].numel(), generator=torch.Generator().manual_seed(seed))
        mask = computed.clone()
        mask[own] = computed[own].flatten()[order].view_as(computed[own])
        others.append(error(mask))
    assert error(computed) < sorted(others)[1]


@pytest.mark.parametrize("name", METHODS)
def test_a_high_penalty_reuses_everything_and_a_low_one_computes_everything(name: str) -> None:
    dear, _ = trained(name, 60, lessons.lesson(), penalty=100.0, learning_rate=0.2)
    cheap, _ = trained(name, 60, lessons.lesson(), penalty=1e-9, learning_rate=0.2)
    own = list(dear.router.trained)
    assert not dear.router.computed(0.1)[own].any()
    assert cheap.router.computed(0.1).all()


def test_learning_to_cache_trains_the_second_step_of_every_pair() -> None:
    training, _ = trained("learning_to_cache", 2, lessons.lesson(steps=6))
    scores = training.router.scores()
    assert training.router.trained == (1, 3, 5)
    assert (scores[[0, 2, 4]] == ALWAYS).all()


def test_learning_to_cache_goes_on_with_the_plain_prediction() -> None:
    lesson, draw = lessons.lesson(), Draw(prompt=0, seeds=(7,))
    end = lesson.trajectory.sample(draw, Pairs(make("learning_to_cache", lesson)).handle)
    assert torch.equal(end, image(lesson, lambda call: Computed(), draw))


def test_learning_to_cache_takes_each_pair_from_clean_pictures_where_there_are_some() -> None:
    lesson = lessons.lesson(steps=4, clean=True)
    make("learning_to_cache", lesson).iterate(0)
    drawn = lesson.trajectory.drawn  # type: ignore[attr-defined]
    assert [(d.first, d.stop, d.clean) for d in drawn] == [(0, 2, True), (2, 4, True)]
    assert drawn[0].seeds != drawn[1].seeds


def test_harmonica_goes_on_with_the_students_prediction() -> None:
    lesson, draw = lessons.lesson(), Draw(prompt=0, seeds=(7,))
    training = make("harmonica", lesson, penalty=1e-9)
    shares = torch.stack([training.router(step).detach() for step in range(1, 4)])
    kept = [set(torch.nonzero(row > 0.1).flatten().tolist()) for row in shares]
    session = lesson.session(Level.MODULE)

    def frozen(call: Call, predict: Predict) -> Tensor:
        mixture = Mixture(training.sites, shares[call.step - 1]) if call.step else Computed()
        picture = teach(session, call, mixture, predict)
        session.commit(lambda site: not call.step or training.sites.index(site) in kept[call.step - 1])
        return picture

    # The rows are updated after they were used, so this sampling shows their first values in every step.
    expected = lesson.trajectory.sample(draw, frozen)
    torch.testing.assert_close(lesson.trajectory.sample(draw, Denoising(training).handle), expected)


def test_harmonica_overwrites_a_kept_feature_only_above_the_threshold() -> None:
    lesson = lessons.lesson(steps=2)
    training, kept = make("harmonica", lesson), []
    with torch.no_grad():
        training.router.rows["1"].copy_(torch.tensor([-4.0, 4.0] * 3))
    sampling, place = Denoising(training), [lessons.lane(torch.zeros(1, 2, lessons.WIDTH))]

    def handle(call: Call, predict: Predict) -> Tensor:
        picture = sampling.handle(call, predict)
        kept.append([sampling.session.kept(place, site)[0].clone() for site in training.sites])
        return picture

    lesson.trajectory.sample(Draw(prompt=0, seeds=(7,)), handle)
    changed = [not torch.equal(old, new) for old, new in zip(*kept, strict=True)]
    assert changed == [False, True] * 3


def mask_of(training: Any, **rows: bool) -> Tensor:
    """Return the router's decisions with some steps set."""
    mask = training.router.computed(0.1)
    for step, value in rows.items():
        mask[int(step.removeprefix("step"))] = value
    return mask


def half_reusing() -> Any:
    """Return a training whose router reuses something in steps 1 and 2, and nothing in step 3."""
    training = make("harmonica", lessons.lesson())
    with torch.no_grad():
        for step, row in training.router.rows.items():
            row.copy_(torch.tensor([-4.0, 4.0] * 3 if step != "3" else [4.0] * 6))
    return training


def moved(training: Any, one: Tensor, other: Tensor) -> float:
    """Return the mean squared difference of the images made with two masks."""
    prompt, seeds = training.lesson.draws.draw(0, 1)
    draw = Draw(prompt=prompt, seeds=seeds)
    images = [
        image(training.lesson, lambda call, m=m: Decided(training.sites, m[call.step]), draw)
        for m in (one, other)
    ]
    return float((images[0] - images[1]).square().mean())


def test_a_steps_proxy_is_what_caching_in_it_moves_the_final_image_by() -> None:
    training = half_reusing()
    own = mask_of(training)
    expected = [
        0.0,
        moved(training, own, mask_of(training, step1=True)),
        moved(training, own, mask_of(training, step2=True)),
    ]
    # Step 3 reuses nothing as yet, so all of it is reused for the comparison.
    expected.append(moved(training, own, mask_of(training, step3=False)))
    torch.testing.assert_close(training.find_proxies(0), torch.tensor(expected))


def test_the_incremental_proxy_installs_the_router_step_by_step() -> None:
    training = half_reusing()
    training.config = replace(training.config, proxy="incremental")
    none, one = mask_of(training, step1=True, step2=True), mask_of(training, step2=True)
    two = mask_of(training)
    expected = [
        0.0,
        moved(training, none, one),
        moved(training, one, two),
        moved(training, two, mask_of(training, step3=False)),
    ]
    torch.testing.assert_close(training.find_proxies(0), torch.tensor(expected))


def test_the_loss_of_a_step_counts_by_its_proxy() -> None:
    # With the same penalty, a step that means nothing for the image is reused and one that means much is not.
    lesson = lessons.lesson(steps=3)
    training = make("harmonica", lesson, penalty=0.01, learning_rate=0.3, proxy_every=1000)
    training.proxies = torch.tensor([0.0, 1e-6, 1e6])
    for number in range(1, 40):
        training.iterate(number)
    assert training.router.computed(0.1).float().mean(dim=1).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("steps", [1, 3, 21])
def test_learning_to_cache_refuses_steps_that_make_no_pairs(steps: int) -> None:
    with pytest.raises(CacheError, match=f"{steps} steps, expected an even number"):
        make("learning_to_cache", lessons.lesson(steps=steps))


def test_learning_to_cache_refuses_to_reuse_more_than_half_and_says_why() -> None:
    with pytest.raises(CacheError, match=r"at least 0.5.*reuses at most 50%.*harmonica"):
        make("learning_to_cache", lessons.lesson(), refresh_ratio=0.49)
    make("learning_to_cache", lessons.lesson(), refresh_ratio=0.5)


def test_harmonica_refuses_a_single_step_and_less_than_the_first() -> None:
    with pytest.raises(CacheError, match="at least 2"):
        make("harmonica", lessons.lesson(steps=1))
    with pytest.raises(CacheError, match=r"at least 0.25"):
        make("harmonica", lessons.lesson(steps=4), refresh_ratio=0.2)


def test_scores_stay_within_their_bounds() -> None:
    training, _ = trained("harmonica", 20, lessons.lesson(), penalty=100.0, learning_rate=1.0)
    own = list(training.router.trained)
    assert training.router.scores()[own].abs().max() <= BOUND


def test_a_network_without_gradient_is_refused() -> None:
    lesson = lessons.lesson()
    forward = lesson.adapter.network.forward
    lesson.adapter.network.forward = lambda *args: forward(*args).detach()  # type: ignore[method-assign]
    with pytest.raises(CacheError, match="lets no gradient through"):
        make("learning_to_cache", lesson).iterate(0)


def test_a_network_whose_gradient_is_cut_short_is_refused() -> None:
    lesson = lessons.lesson()
    for block in lesson.adapter.network.blocks:
        # As a quantised layer without a backward pass: only what is added to the stream carries a gradient.
        block.mlp.register_forward_hook(lambda layer, given, made: made * 3.0 - 2.0 * made.detach())
    with pytest.raises(CacheError, match="gradient is wrong"):
        make("learning_to_cache", lesson).iterate(0)


def test_undefined_numbers_are_refused_with_the_step() -> None:
    lesson = lessons.lesson()
    with torch.no_grad():
        lesson.adapter.network.blocks[0].mlp.bias.fill_(float("nan"))
    with pytest.raises(CacheError, match="loss of step 1 is nan"):
        make("learning_to_cache", lesson).iterate(0)


def test_a_steered_penalty_is_the_price_that_the_wanted_share_can_afford() -> None:
    penalty = Penalty(Costs.even(1, 4), [0], threshold=0.5, wanted=0.5, fixed=None)
    assert penalty.weight == LEAST
    # c (1 - w)^2 with c = 1, 2, 3, 4 at w = 0.5: prices 2 (1 - threshold) c = c.
    penalty.observe(0, torch.full((4,), 0.5), -torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert penalty.weight == pytest.approx(2.5)


def test_a_fixed_penalty_is_not_steered() -> None:
    penalty = Penalty(Costs.even(1, 2), [0], threshold=0.5, wanted=0.5, fixed=7.0)
    penalty.observe(0, torch.full((2,), 0.5), torch.tensor([-1.0, -2.0]))
    assert penalty.weight == 7.0


def test_a_ratio_that_was_missed_is_met_by_the_threshold_and_that_is_told() -> None:
    training = make("harmonica", lessons.lesson(), refresh_ratio=0.5)
    outcome = training.outcome()
    assert outcome.measured["refresh_ratio"] == pytest.approx(0.5, abs=0.02)
    assert outcome.made["is_threshold_moved"]
    assert "threshold was moved from 0.1" in outcome.text

"""Scale-shift training on the pupil: what it starts from, that it helps, and that Block Caching takes what it makes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import lessons
import pytest
import torch
from lessons import profile

from cache_core import (
    POLICIES,
    Artefact,
    CacheError,
    CacheSession,
    Sampling,
    scoped_forwards,
)
from cache_core.training.adjustment import NUM_FREQUENCIES, embed
from cache_core.training.method import TRAININGS, Lesson
from cache_core.training.trainer import artefact_of

CLS = TRAININGS["scale_shift"]


def make(lesson: Lesson, **settings: Any) -> Any:
    """Return a training for a profile by which every second step reuses all blocks."""
    return CLS(CLS.config_type(**({"profile": profile(lesson)} | settings)), lesson)


def picture(lesson: Lesson, policy: Any) -> torch.Tensor:
    """Return the end of a run that is cached by `policy`."""
    run, network = lesson.trajectory.run, lesson.adapter.network
    session, x = CacheSession(policy, run, torch.device("cpu")), lessons.noise_of(900)
    with torch.no_grad():
        for sigma, later in zip(run.sigmas, run.sigmas[1:], strict=False):
            with (
                session.open_call(sigma),
                session.open_pass(network, [lessons.lane(x)]) as opened,
                scoped_forwards(opened.patches),
            ):
                x = x + (later - sigma) * network(x, sigma, 0.0)
    return x


def cached_by(artefact: Artefact | None, delta: float = 0.5) -> Any:
    """Return Block Caching with a profile."""
    policy = POLICIES["block_caching"]
    return policy(policy.config_type(profile=artefact, delta=delta))


def test_training_starts_from_plain_reuse() -> None:
    tensors = make(lessons.lesson()).outcome().tensors
    adjusted = [name for name in tensors if name != "profile"]
    assert sorted(adjusted) == sorted(
        f"{part}.blocks.{i}.residual.0" for part in ("scale", "shift") for i in range(3)
    )
    assert all(tensors[name].shape == (4, lessons.WIDTH) and not tensors[name].any() for name in adjusted)


@pytest.mark.parametrize("recompute", [True, False])
def test_the_loss_falls(recompute: bool) -> None:
    training = make(lessons.lesson(recompute=recompute), learning_rate=0.003)
    losses = [training.iterate(number) for number in range(30)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_what_was_trained_brings_a_cached_run_nearer_to_the_uncached_one() -> None:
    lesson = lessons.lesson(batch=8, recompute=False)
    training = make(lesson, learning_rate=0.003)
    for number in range(60):
        training.iterate(number)
    sampling = Sampling(num_steps=4, sigmas=lesson.trajectory.run.sigmas)
    trained = artefact_of(training.outcome(), training, {}, sampling)
    truth = picture(lesson, cached_by(None))
    errors = [
        (picture(lesson, cached_by(made)) - truth).square().mean() for made in (trained, profile(lesson))
    ]
    assert errors[0] < errors[1]
    assert trained.made["trained_delta"] == 0.5


def test_a_delta_that_reuses_nothing_is_refused() -> None:
    with pytest.raises(CacheError, match="no block is ever reused"):
        make(lessons.lesson(), delta=0.0)


def test_a_missing_profile_is_refused() -> None:
    with pytest.raises(CacheError, match="'profile' is missing"):
        CLS(CLS.config_type(), lessons.lesson())


def test_a_profile_for_other_steps_is_refused() -> None:
    with pytest.raises(CacheError, match="for 6 steps"):
        CLS(CLS.config_type(profile=profile(lessons.lesson())), lessons.lesson(steps=6))


def test_a_profile_for_other_noise_levels_is_refused() -> None:
    lesson = lessons.lesson()
    other = replace(profile(lesson), sampling=Sampling(num_steps=4, sigmas=(1.0, 0.9, 0.6, 0.3, 0.0)))
    with pytest.raises(CacheError, match=r"noise level 0.9 in step 1, where the training has 0.75"):
        make(lesson, profile=other)


def test_a_profile_of_another_sampler_is_told() -> None:
    lesson = lessons.lesson()
    sampling = replace(profile(lesson).sampling, sampler="heun")
    training = make(lesson, profile=replace(profile(lesson), sampling=sampling))
    assert "sampler 'heun', this was trained with 'euler'" in training.outcome().text
    assert "sampler" not in make(lesson).outcome().text


def test_guidance_in_one_pass_or_two_teaches_the_same() -> None:
    one, two = (make(lessons.lesson(passes=passes, batch=2), learning_rate=0.01) for passes in (1, 2))
    losses = [[training.iterate(number) for number in range(3)] for training in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    ends = [training.outcome().tensors for training in (one, two)]
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("reused", [0, 1, 2])
def test_blocks_before_and_behind_the_reused_one_may_be_checkpoints(reused: int) -> None:
    lesson = lessons.lesson()
    lesson.adapter.network.requires_grad_(False)
    training = make(lesson, profile=profile(lesson, reused=[reused]))
    training.iterate(0)
    assert not training.check.is_due


def test_a_network_whose_gradient_is_cut_short_is_refused() -> None:
    lesson = lessons.lesson()
    for block in lesson.adapter.network.blocks:
        block.mlp.register_forward_hook(lambda layer, given, made: made * 9.0 - 8.0 * made.detach())
    with pytest.raises(CacheError, match="gradient is wrong"):
        make(lesson, profile=profile(lesson, reused=[0])).iterate(0)


def test_a_resumed_training_ends_where_an_uninterrupted_one_does() -> None:
    whole, first, second = (make(lessons.lesson(recompute=False)) for _ in range(3))
    for number in range(4):
        whole.iterate(number)
    for number in range(2):
        first.iterate(number)
    second.restore(first.state())
    for number in range(2, 4):
        second.iterate(number)
    ends = [training.outcome().tensors for training in (whole, second)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_noise_levels_are_embedded_as_timesteps_are() -> None:
    embedded = embed(0.5)
    assert embedded.shape == (2 * NUM_FREQUENCIES,)
    assert float(embedded[0]) == pytest.approx(math.cos(500.0), abs=1e-4)
    assert float(embedded[NUM_FREQUENCIES]) == pytest.approx(math.sin(500.0), abs=1e-4)

"""Scale-shift training on the pupil: what it starts from, that it helps, and that Block Caching takes what it makes."""

from __future__ import annotations

import math
from typing import Any

import lessons
import pytest
import torch

from cache_core import (
    POLICIES,
    Artefact,
    CacheError,
    CacheSession,
    Kind,
    Level,
    Sampling,
    fingerprint,
    scoped_forwards,
)
from cache_core.training.method import TRAININGS, Lesson
from cache_core.training.scale_shift import NUM_FREQUENCIES, embed
from cache_core.training.trainer import artefact_of

CLS = TRAININGS["scale_shift"]


def profile(lesson: Lesson, steps: int = 4) -> Artefact:
    """Return a profile by which every second step reuses all blocks."""
    sites = lesson.adapter.sites(Level.BLOCK)
    change = torch.where((torch.arange(steps) % 2 == 0)[:, None], 9.0, 0.001).expand(steps, len(sites))
    return Artefact(
        kind=Kind.PROFILE,
        method="block_caching",
        architecture=fingerprint(lesson.adapter, Level.BLOCK),
        sampling=Sampling(num_steps=steps, sigmas=lesson.trajectory.run.sigmas),
        tensors={"profile": change.clone()},
    )


def make(lesson: Lesson, **settings: Any) -> Any:
    """Return a training for that profile."""
    return CLS(CLS.config_type(profile=profile(lesson), **settings), lesson)


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

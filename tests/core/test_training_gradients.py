"""Gradients through blocks that write in place: against finite differences, with and without checkpoints."""

from __future__ import annotations

import lessons
import pytest
import torch
from torch import Tensor, nn

from cache_core import Call, Level
from cache_core.training.gradients import frozen, leaves_of, writable
from cache_core.training.method import Lesson, distortion, teach
from cache_core.training.router import Mixture
from cache_core.training.session import Computed, TrainingSession
from cache_core.training.trajectory import Draw, Predict

DRAW = Draw(prompt=0, seeds=(1,))


class Exam:
    """The second call of a sampling, whose first was computed and kept: the distortion as a function of the shares."""

    def __init__(self, lesson: Lesson, level: Level = Level.MODULE) -> None:
        self.lesson, self.session = lesson, lesson.session(level)
        self.sites = lesson.adapter.sites(level)
        self.shares = torch.linspace(0.2, 0.8, len(self.sites))

    def take(self, ask: object) -> Tensor:
        """Return what `ask(call, predict, teacher)` makes of the second call."""
        answers: list[Tensor] = []

        def handle(call: Call, predict: Predict) -> Tensor:
            teacher = teach(self.session, call, Computed(), predict)
            if call.step == 0:
                self.session.commit()
            if call.step == 1:
                answers.append(ask(call, predict, teacher))  # type: ignore[operator]
            return teacher

        self.lesson.trajectory.sample(DRAW, handle)
        return answers[0]

    def gradient(self) -> Tensor:
        """Return the gradient of the distortion with respect to the shares."""

        def ask(call: Call, predict: Predict, teacher: Tensor) -> Tensor:
            with torch.enable_grad(), writable():
                (leaf,) = leaves_of([self.shares])
                student = self.session.evaluate(call, Mixture(self.sites, leaf), predict)
                distortion(teacher, student, call).backward()
            assert leaf.grad is not None
            return leaf.grad

        return self.take(ask)

    def difference(self, width: float = 1e-2) -> Tensor:
        """Return the central finite differences of the same."""

        def at(shares: Tensor, call: Call, predict: Predict, teacher: Tensor) -> Tensor:
            return distortion(teacher, teach(self.session, call, Mixture(self.sites, shares), predict), call)

        def ask(call: Call, predict: Predict, teacher: Tensor) -> Tensor:
            nudges = width * torch.eye(len(self.sites))
            return torch.stack(
                [
                    (
                        at(self.shares + nudge, call, predict, teacher)
                        - at(self.shares - nudge, call, predict, teacher)
                    )
                    / (2 * width)
                    for nudge in nudges
                ]
            )

        return self.take(ask)


@pytest.mark.parametrize("recompute", [True, False])
def test_gradient_is_the_finite_difference(recompute: bool) -> None:
    exam = Exam(lessons.lesson(recompute=recompute))
    torch.testing.assert_close(exam.gradient(), exam.difference(), rtol=2e-2, atol=1e-4)


def test_checkpoints_do_not_change_the_gradient() -> None:
    with_them, without = (Exam(lessons.lesson(recompute=recompute)).gradient() for recompute in (True, False))
    torch.testing.assert_close(with_them, without)


def test_blocks_that_write_in_place_need_the_context() -> None:
    exam = Exam(lessons.lesson(recompute=False))

    def ask(call: Call, predict: Predict, teacher: Tensor) -> Tensor:
        with torch.enable_grad():
            (leaf,) = leaves_of([exam.shares])
            student = exam.session.evaluate(call, Mixture(exam.sites, leaf), predict)
            with pytest.raises(RuntimeError, match="inplace"):
                distortion(teacher, student, call).backward()
        return teacher

    exam.take(ask)


def test_checkpoints_keep_no_activations_of_blocks() -> None:
    def saved(recompute: bool) -> int:
        exam, kept = Exam(lessons.lesson(recompute=recompute)), []

        def ask(call: Call, predict: Predict, teacher: Tensor) -> Tensor:
            def note(tensor: Tensor) -> Tensor:
                kept.append(tensor)
                return tensor

            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                return exam.session.evaluate(call, Mixture(exam.sites, exam.shares.requires_grad_()), predict)

        exam.take(ask)
        return len(kept)

    # The stream, gate and anchor of each of three blocks, and little besides; without them every operator's inputs.
    assert saved(recompute=True) <= 12 < 30 < saved(recompute=False)


def test_nothing_is_left_on_the_network() -> None:
    lesson = lessons.lesson()
    Exam(lesson).gradient()
    assert not [m for m in lesson.adapter.network.modules() if "forward" in vars(m)]


def test_frozen_weights_get_no_gradient_and_are_given_back_as_they_were() -> None:
    layer = nn.Linear(2, 2)
    weight, x = layer.weight, torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        layer(x).sum().backward()
    assert layer.weight is weight
    assert weight.requires_grad
    assert weight.grad is None
    assert x.grad is not None


def test_weights_made_in_inference_mode_let_gradients_through_without_a_copy() -> None:
    with torch.inference_mode():
        layer = nn.Linear(2, 2)
    weight, x = layer.weight, torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        assert layer.weight.data_ptr() == weight.data_ptr()
        layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight is weight


def test_kept_features_change_in_commit_only() -> None:
    lesson = lessons.lesson()
    session: TrainingSession = lesson.session(Level.MODULE)
    sites, seen = lesson.adapter.sites(Level.MODULE), []

    def handle(call: Call, predict: Predict) -> Tensor:
        picture = teach(session, call, Computed(), predict)
        if call.step == 0:
            session.commit()
        place = [lessons.lane(torch.zeros(1, 2, lessons.WIDTH))]
        seen.append(session.kept(place, sites[0])[0].clone())
        return picture

    lesson.trajectory.sample(DRAW, handle)
    assert all(torch.equal(kept, seen[0]) for kept in seen)

"""What cannot be trained on is found out: quantised weights, gradients that are cut short, and what only looks like it."""

from __future__ import annotations

from typing import Any

import lessons
import pytest
import torch
from torch import Tensor, nn

from cache_core import CacheError
from cache_core.training.soundness import GradientCheck, require_trainable


class Packed(Tensor):
    """A tensor that is more than its numbers, as quantised formats have them."""


def network_of(weight: Any) -> nn.Module:
    """Return a network with one weight."""
    layer = nn.Linear(2, 2, bias=False)
    layer.weight = weight
    return layer


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False), "Parameter, int8"),
        (nn.Parameter(torch.ones(2, 2).as_subclass(Packed), requires_grad=False), "Packed, float32"),
    ],
)
def test_weights_of_a_quantised_format_are_refused_by_name(weight: Any, text: str) -> None:
    with pytest.raises(CacheError, match=rf"lets no gradient through.*'weight' is one \({text}\).*float32"):
        require_trainable(network_of(weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_that_are_numbers_are_accepted(dtype: torch.dtype) -> None:
    require_trainable(network_of(nn.Parameter(torch.ones(2, 2).to(dtype), requires_grad=False)))


def test_a_training_refuses_them_before_its_first_call() -> None:
    lesson = lessons.lesson()
    lesson.adapter.network.blocks[1].mlp.weight = nn.Parameter(
        torch.ones(4, 4, dtype=torch.int8), requires_grad=False
    )
    with pytest.raises(CacheError, match=r"'blocks.1.mlp.weight'"):
        lessons.training("harmonica", lesson)


def test_a_gradient_that_overflowed_is_not_taken_for_a_checked_one() -> None:
    check = GradientCheck()
    check.compare(float("inf"), torch.tensor)
    assert check.is_due
    check.compare(1.0, torch.tensor)
    assert not check.is_due


def test_a_check_ends_with_the_parameters_as_they_are() -> None:
    nudges: list[float] = []

    def error(nudge: float) -> Tensor:
        nudges.append(nudge)
        return torch.tensor(2.0 * nudge)

    GradientCheck().compare(2.0, error)
    assert nudges[-1] == 0.0
    with pytest.raises(CacheError, match="gradient is wrong: 9, where a finite difference gives 2"):
        GradientCheck().compare(9.0, error)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["learning_to_cache", "harmonica", "scale_shift"])
def test_half_precision_makes_an_update(name: str, dtype: torch.dtype) -> None:
    training: Any = lessons.training(name, lessons.lesson(dtype=dtype, batch=4))
    before = training.state()["learner"]["module"]
    assert training.iterate(0) > 0
    after = training.state()["learner"]["module"]
    assert any(not torch.equal(before[part], after[part]) for part in after)
    assert all(value.isfinite().all() for value in after.values())

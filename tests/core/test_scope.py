from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from cache_core import ForwardPatch, scoped_forwards
from cache_core.scope import Forward


class _Answer(nn.Module):
    def forward(self) -> int:
        return 1


def _plus(amount: int) -> Any:
    def wrap(original: Forward) -> Forward:
        return lambda: original() + amount

    return wrap


def test_replaces_inside_and_leaves_no_attribute() -> None:
    module = _Answer()
    with scoped_forwards([ForwardPatch(module, _plus(10))]):
        assert module() == 11
    assert module() == 1
    assert "forward" not in vars(module)


def test_nested_patches_stack_and_unwind() -> None:
    module = _Answer()
    with scoped_forwards([ForwardPatch(module, _plus(10)), ForwardPatch(module, _plus(100))]):
        assert module() == 111
    assert "forward" not in vars(module)


def test_somebody_elses_forward_is_called_and_put_back() -> None:
    module = _Answer()
    theirs = lambda: 5  # noqa: E731 - identity is what is tested
    module.forward = theirs  # type: ignore[method-assign]
    with scoped_forwards([ForwardPatch(module, _plus(10))]):
        assert module() == 15
    assert vars(module)["forward"] is theirs


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_restores_on_any_exception(error: type[BaseException]) -> None:
    module = _Answer()
    with pytest.raises(error), scoped_forwards([ForwardPatch(module, _plus(10))]):
        raise error
    assert "forward" not in vars(module)


def test_restores_what_was_installed_when_a_later_patch_fails() -> None:
    module = _Answer()

    def broken(original: Forward) -> Forward:
        raise RuntimeError

    with (
        pytest.raises(RuntimeError),
        scoped_forwards([ForwardPatch(module, _plus(1)), ForwardPatch(module, broken)]),
    ):
        pass
    assert "forward" not in vars(module)

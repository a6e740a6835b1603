"""A correction on top of a policy it does not know."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import toy
from torch import Tensor

from cache_core import Config, History, Overlay, Policy, Target, setting


@dataclass(frozen=True, kw_only=True)
class _GainConfig(Config):
    gain: float = setting(1.0, "Part of the last change that is added.")


class _Forward(Overlay):
    """Adds the last change of a feature to what the inner policy makes of it, and notes what it is asked for."""

    name = title = source = "forward"
    config_type = _GainConfig
    strictest = {"gain": 0.0}  # noqa: RUF012

    def __init__(self, inner: Policy) -> None:
        super().__init__(inner, _GainConfig())
        self.asked: list[tuple[int, str, int, int]] = []

    @property
    def memory(self) -> int:
        return 2

    def estimate(self, history: History, target: Target) -> Tensor:
        self.asked.append((target.call.index, str(target.site), target.stream, len(history)))
        last = super().estimate(history, target)
        return last + (history[-1].value - history[0].value)


def test_overlay_plans_as_the_inner_policy_and_corrects_its_estimates() -> None:
    """Inputs 1, 2, 2.5: the first two compute 2 and 4, the third changed by a quarter and forecasts 4 + (4 - 2)."""
    policy = _Forward(toy.threshold(threshold=0.5))
    session, network = toy.open_session(policy), toy.ToyDiT(1)
    outputs = [
        toy.call(session, network, torch.full((1, 1), x), [toy.lane()]).item() for x in (1.0, 2.0, 2.5)
    ]
    assert outputs == [3.0, 6.0, 2.5 + 4 + (4 - 2)]
    assert policy.asked == [(2, "blocks.0.mlp", 0, 2)]


def test_overlay_shows_the_inner_policy_only_as_much_history_as_it_asks_for() -> None:
    seen: list[int] = []

    class Counting(toy.Threshold):
        def estimate(self, history: History, target: Target) -> Tensor:
            seen.append(len(history))
            return super().estimate(history, target)

    session, network = toy.open_session(_Forward(toy.threshold(Counting, threshold=0.5))), toy.ToyDiT(1)
    for x in (1.0, 2.0, 2.5):
        toy.call(session, network, torch.full((1, 1), x), [toy.lane()])
    assert seen == [1]


def test_overlay_is_reported_with_what_it_wraps() -> None:
    inner = toy.threshold(toy.FromComputed)
    policy = _Forward(inner)
    assert policy.label == "threshold + forward"
    assert policy.describe() == f"{inner.describe()}; gain=1.0"
    assert (policy.level, policy.indicator) == (inner.level, inner.indicator)
    assert policy.compares_with == "last computed call"

"""Step lists, by the rule and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy

from cache_core import Action, Call, ConfigError, Evidence, Level, Run, Snapshot, Target
from cache_core.ops.steps import even_steps, listed_steps, shifted_steps
from cache_core.policies.step_list import StepList, StepListConfig

SITES = toy.ToyAdapter(toy.ToyDiT()).sites(Level.MODULE)


def _policy(**settings: Any) -> StepList:
    return StepList(StepListConfig(**{"speedup": 2.0} | settings))


def _computed(policy: StepList, call_steps: tuple[int, ...], cfg: float | None = 4.0) -> list[int]:
    num_steps = max(call_steps) + 1
    run = Run(sigmas=tuple(1 - i / num_steps for i in range(num_steps + 1)), call_steps=call_steps, cfg=cfg)
    evidence = Evidence(sites=SITES)
    calls = [Call(index=i, step=step, sigma=run.sigmas[step], run=run) for i, step in enumerate(call_steps)]
    return [call.index for call in calls if policy.plan(call, evidence)[SITES[0]] is Action.COMPUTE]


EVEN = [0, 2, 4, 6, 8, 11, 13, 15, 17, 19]


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_rule_follows_a_schedule_of_shift_2(cfg: float) -> None:
    assert _computed(_policy(), tuple(range(20)), cfg=cfg) == [0, 1, 2, 4, 5, 7, 9, 12, 15, 18]


def test_rule_looks_at_the_share_of_noise_where_sigma_is_none() -> None:
    flow = tuple(1 - i / 20 for i in range(21))
    others = (1e4, *(t / (1 - t) for t in flow[1:]))
    found = [_policy().full_steps(Run(sigmas=sigmas, flow=sigmas is flow)) for sigmas in (flow, others)]
    assert found[0] == found[1]


def test_even_spread_leaves_equal_gaps() -> None:
    assert _computed(_policy(spread="even"), tuple(range(20))) == EVEN


def _schedule(num_steps: int, shift: float = 1.0, end: float = 0.0) -> list[float]:
    """Return the share of noise of a flow schedule at each step and after the last."""
    places = [1 - (1 - end) * i / num_steps for i in range(num_steps + 1)]
    return [shift * u / (1 + (shift - 1) * u) for u in places]


def test_schedule_of_the_same_shift_is_spread_evenly() -> None:
    assert shifted_steps(_schedule(20, 2.0), 10, 2.0) == even_steps(20, 10)


def test_schedule_that_ends_early_is_spread_to_its_end() -> None:
    assert shifted_steps(_schedule(20, 2.0, end=0.4), 10, 2.0) == even_steps(20, 10)


def test_larger_shift_takes_noisier_steps() -> None:
    small, large = (shifted_steps(_schedule(20), 10, shift) for shift in (1.0, 3.0))
    assert sum(large) < sum(small)


def test_last_full_step_serves_as_much_after_it_as_before() -> None:
    """Of 100 even steps 4: 25 apart from middle to middle, and half of that before the end."""
    assert even_steps(100, 4) == (0, 29, 57, 86)


@pytest.mark.parametrize("num_steps", range(1, 60))
@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0, 5.0])
def test_rule_has_as_many_different_steps_as_were_asked_for(num_steps: int, shift: float) -> None:
    for num_full in range(1, num_steps + 1):
        steps = shifted_steps(_schedule(num_steps), num_full, shift)
        assert len(set(steps)) == num_full
        assert list(steps) == sorted(steps)
        assert (steps[0], max(steps) < num_steps) == (0, True)


def test_speedup_1_computes_everything() -> None:
    assert _computed(_policy(speedup=1.0), tuple(range(7))) == list(range(7))


def test_written_list_takes_the_place_of_the_rule() -> None:
    assert _computed(_policy(steps="0-2, 5", speedup=9.0), tuple(range(8))) == [0, 1, 2, 5]


def test_all_calls_of_a_listed_step_are_computed() -> None:
    heun = (0, 0, 1, 1, 2, 2, 3)
    assert _computed(_policy(steps="0, 2"), heun) == [0, 1, 4, 5]


def test_list_is_read_in_order_and_once() -> None:
    assert listed_steps(" 7, 0-2,2 - 3") == (0, 1, 2, 3, 7)


def test_list_for_more_steps_is_noted() -> None:
    run = Run(sigmas=(1.0, 0.5, 0.0))
    (note,) = _policy(steps="0, 5").check_run(run)
    assert "step 5" in note
    assert "2 steps" in note
    assert _policy().check_run(run) == ()


def test_text_that_is_no_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'steps' is 'every second', expected 'auto' or a list"):
        _policy(steps="every second")


def test_estimate_goes_on_to_the_calls_noise_level() -> None:
    run = Run(sigmas=(1.0, 0.8, 0.5, 0.0))
    history = tuple(
        Snapshot(
            call=Call(index=i, step=i, sigma=run.sigmas[i], run=run), value=torch.full((1, 1), run.sigmas[i])
        )
        for i in range(2)
    )
    target = Target(call=Call(index=2, step=2, sigma=0.5, run=run), site=SITES[0], stream=0)
    assert _policy(order=1, trust="full").estimate(history, target).item() == pytest.approx(0.5)
    assert _policy(order=0).estimate(history, target).item() == pytest.approx(0.8)


@pytest.mark.parametrize("level", ["model", "stack", "block", "module"])
def test_level_is_a_setting(level: str) -> None:
    assert _policy(level=level).level is Level(level)

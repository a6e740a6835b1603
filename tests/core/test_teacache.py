"""TeaCache and SeaCache: the decisions, counted by hand and against a second implementation of the papers' rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import Tensor

import cache_core
from cache_core import Action, Call, Evidence, Indicator, Level, Observation, Reading, Run, Snapshot, Target
from cache_core.ops.accumulation import accumulated
from cache_core.ops.filters import wiener_filtered, wiener_gain
from cache_core.ops.polynomials import evaluate, evaluate_within
from cache_core.ops.teacache_coefficients import FLUX_DEV, PUBLISHED, Published, published_for

SITES = toy.ToyAdapter(toy.ToyDiT()).sites(Level.STACK)
METHODS = ("teacache", "seacache")


def _policy(name: str, **settings: Any) -> cache_core.Policy:
    policy = cache_core.POLICIES[name]
    return policy(policy.config_type(**settings))


def _run(num_calls: int, known: bool = True, **options: Any) -> Run:
    sigmas = tuple(1 - i / num_calls for i in range(num_calls + 1))
    return Run(sigmas=sigmas, call_steps=tuple(range(num_calls)) if known else None, **options)


def _computed(policy: cache_core.Policy, changes: Sequence[float | None], known: bool = True) -> list[int]:
    """Return the calls that the policy computes, asked as the session asks it: with changes since the call before."""
    run, trace = _run(len(changes), known), ()
    for index, change in enumerate(changes):
        call = Call(index=index, step=index, sigma=run.sigmas[index], run=run)
        action = Action.COMPUTE
        if change is not None:
            plan = policy.plan(call, Evidence(sites=SITES, trace=trace, observed=change))
            assert set(plan) == set(SITES)
            (action,) = set(plan.values())
        trace += (Observation(call=call, value=change, computed=action is Action.COMPUTE),)
    return [past.call.index for past in trace if past.computed]


@pytest.mark.parametrize("name", METHODS)
def test_sum_since_the_last_computed_call_decides(name: str) -> None:
    """Sums 1/4, 3/8, 5/8: the third reaches 1/2. Then 1/8, 3/8; the last call is computed whatever it shows."""
    changes = [None, 0.25, 0.125, 0.25, 0.125, 0.25, 0.0]
    assert _computed(_policy(name, threshold=0.5), changes) == [0, 3, 6]


@pytest.mark.parametrize("name", METHODS)
def test_a_sum_that_equals_the_threshold_computes(name: str) -> None:
    assert _computed(_policy(name, threshold=0.5), [None, 0.25, 0.25, 0.25, 0.0]) == [0, 2, 4]


@pytest.mark.parametrize("name", METHODS)
def test_threshold_zero_computes_everything(name: str) -> None:
    assert _computed(_policy(name, threshold=0.0), [None, 0.0, 0.0, 0.0]) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", METHODS)
def test_first_and_last_call_are_computed_at_any_threshold(name: str) -> None:
    assert _computed(_policy(name, threshold=10.0), [0.0] * 5) == [0, 4]


@pytest.mark.parametrize("name", METHODS)
def test_of_unknown_length_the_last_step_is_computed(name: str) -> None:
    assert _computed(_policy(name, threshold=10.0), [0.0] * 5, known=False) == [0, 4]


@pytest.mark.parametrize("name", METHODS)
def test_a_call_that_showed_nothing_adds_nothing(name: str) -> None:
    policy = _policy(name, threshold=0.5)
    run = _run(5)
    calls = [Call(index=i, step=i, sigma=run.sigmas[i], run=run) for i in range(3)]
    trace = (
        Observation(call=calls[0], value=None, computed=True),
        Observation(call=calls[1], value=None, computed=False),
    )
    plan = policy.plan(calls[2], Evidence(sites=SITES, trace=trace, observed=0.25))
    assert set(plan.values()) == {Action.REUSE}


def test_the_polynomial_rescales_before_the_sum() -> None:
    """Of Flux.1 dev at d = 0.1: 0.04987 - 0.28378 + 0.55855 - 0.38202 + 0.26423 = 0.20685, twice that is above 0.4."""
    policy = _policy("teacache", threshold=0.4, coefficients="flux.1-dev")
    assert policy.rescale(0.1) == pytest.approx(0.206847, abs=1e-6)  # type: ignore[attr-defined]
    assert _computed(policy, [None, *[0.1] * 7]) == [0, 2, 4, 6, 7]


def test_a_negative_value_of_the_polynomial_counts_as_much_as_a_positive() -> None:
    policy = _policy("teacache", threshold=0.5, coefficients="wan2.1-t2v-14b")
    assert policy.rescale(0.0) == pytest.approx(13.02252404)  # type: ignore[attr-defined]
    assert _computed(policy, [None, 0.0, 0.0, 0.0]) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["identity", "flux.1-dev", "flux.1-kontext-dev", "hidream-i1-dev"])
def test_decisions_equal_those_of_a_second_implementation(name: str) -> None:
    """The published loop: a running sum that is set back, numpy's polynomial, one pass over the calls."""
    generator = np.random.default_rng(7)
    for threshold in (0.05, 0.22, 0.4, 1.0):
        changes = generator.uniform(0.01, 0.3, size=28).tolist()
        rescale = np.poly1d(PUBLISHED[name].coefficients)
        full, total = [0], 0.0
        for index in range(1, 28):
            total += abs(float(rescale(changes[index])))
            if index == 27 or total >= threshold:
                full.append(index)
                total = 0.0
        policy = _policy("teacache", threshold=threshold, coefficients=name)
        assert _computed(policy, [None, *changes[1:]]) == full


def test_a_lower_threshold_never_skips_before_a_higher_one() -> None:
    changes = [None, *np.random.default_rng(3).uniform(0.0, 0.3, size=19).tolist()]
    counts = [len(_computed(_policy("teacache", threshold=t), changes)) for t in (0.0, 0.1, 0.3, 0.9)]
    assert counts == sorted(counts, reverse=True) and counts[0] == 20


@pytest.mark.parametrize("name", METHODS)
def test_it_works_on_the_stack_from_the_modulated_input_of_the_last_call(name: str) -> None:
    policy = _policy(name)
    assert (policy.level, policy.indicator) == (Level.STACK, Indicator.MODULATED_INPUT)
    assert (policy.compares_with, policy.memory) == ("last call", 1)


@pytest.mark.parametrize("name", METHODS)
def test_estimate_is_a_copy_of_the_newest(name: str) -> None:
    call = Call(index=0, step=0, sigma=1.0, run=_run(1))
    history = (Snapshot(call=call, value=torch.zeros(1)), Snapshot(call=call, value=torch.ones(1)))
    estimate = _policy(name).estimate(history, Target(call=call, site=SITES[0], stream=0))
    estimate.add_(1)
    assert (estimate.item(), history[-1].value.item()) == (2, 1)


@pytest.mark.parametrize("threshold", [0.15, 0.3, 0.7])
def test_refresh_count_follows_from_the_changes_that_the_report_shows(threshold: float) -> None:
    """A whole run of the toy, whose indicator is its input: the decisions follow from what was observed."""

    class OnTheToy(cache_core.POLICIES["teacache"]):  # type: ignore[misc]
        indicator = Indicator.NETWORK_INPUT

    policy = OnTheToy(OnTheToy.config_type(threshold=threshold))
    session, network = toy.open_session(policy, steps=12), toy.ToyDiT()
    for value in (8, 9, 10, 10, 11, 13, 14, 14, 15, 18, 19, 19):
        toy.call(session, network, torch.full((1, 1), float(value)), [toy.lane()])
    report = session.close(seconds=1.0)
    expected, total = [True], 0.0
    for index, observed in enumerate([call.observed for call in report.calls][1:], 1):
        total += observed or 0.0
        expected.append(index == 11 or total >= threshold)
        total = 0.0 if expected[-1] else total
    assert [call.full for call in report.calls] == expected
    assert report.refresh_ratio == pytest.approx(sum(expected) / 12)
    assert report.num_reused > 0


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("teacache", {"threshold": -0.1}, ("'threshold'", "-0.1", "at least 0")),
        ("teacache", {"coefficients": "flux"}, ("'coefficients'", "'flux'", "'flux.1-dev'")),
        ("teacache", {"fitted": "x"}, ("'fitted'", "x", "'coefficients'")),
        ("seacache", {"threshold": 11.0, "beta": -1.0}, ("'threshold'", "11.0", "'beta'", "-1.0")),
    ],
)
def test_settings_out_of_bounds_are_refused(
    name: str, settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(cache_core.ConfigError) as caught:
        _policy(name, **settings)
    assert all(word in str(caught.value) for word in words)


def test_the_report_says_where_nothing_was_calibrated() -> None:
    assert "identity (not calibrated for this model)" in _policy("teacache").describe()
    assert _policy("teacache", coefficients="flux.1-dev").describe().endswith("coefficients=flux.1-dev")


def _fitted(
    coefficients: list[float], num_steps: int | None = None, **measured: float
) -> cache_core.Artefact:
    return cache_core.Artefact(
        kind=cache_core.Kind.COEFFICIENTS,
        method="teacache",
        architecture=cache_core.Architecture(family="toy", level=Level.STACK, sites=("blocks.0.residual",)),
        sampling=cache_core.Sampling(num_steps=num_steps),
        tensors={"coefficients": torch.tensor(coefficients)},
        measured=measured,
    )


def test_a_fitted_polynomial_takes_the_place_of_the_published_within_its_range() -> None:
    """P(d) = d^2, fitted between 1/2 and 2: at 4 it is twice P(2), at 1/4 half of P(1/2)."""
    policy = _policy(
        "teacache", coefficients="flux.1-dev", fitted=_fitted([1.0, 0.0, 0.0], low=0.5, high=2.0)
    )
    assert [policy.rescale(d) for d in (0.25, 1.0, 4.0)] == [0.125, 1.0, 8.0]  # type: ignore[attr-defined]
    unbounded = _policy("teacache", fitted=_fitted([-1.0, 0.0, 0.0]))
    assert unbounded.rescale(4.0) == 16.0  # type: ignore[attr-defined]


def test_a_fit_to_other_steps_is_noted() -> None:
    for num_steps, notes in ((4, 0), (5, 1), (None, 0)):
        fitted = _fitted([1.0, 0.0], num_steps)
        found = _policy("teacache", fitted=fitted).check_run(_run(4))
        assert len(found) == notes
        assert all("was fitted with 5 steps; this run has 4 steps" in note for note in found)


def test_accumulated_stops_at_the_last_computed_call() -> None:
    run = _run(4)
    calls = [Call(index=i, step=i, sigma=run.sigmas[i], run=run) for i in range(3)]
    values = ((0.5, True), (0.25, False), (0.125, False))
    trace = [Observation(call=c, value=v, computed=done) for c, (v, done) in zip(calls, values, strict=True)]
    assert accumulated(1.0, trace) == 1.375
    assert accumulated(1.0, trace, lambda d: 2 * d) == 2.75


def test_polynomials_are_read_from_the_highest_power() -> None:
    assert evaluate((2.0, 3.0, 5.0), 10.0) == 235.0
    assert evaluate((), 10.0) == 0.0


def test_outside_its_range_a_polynomial_goes_on_in_proportion() -> None:
    """P(d) = d^2 on [0.5, 2]: at 4 twice P(2) and not 16, at 0.25 half of P(0.5)."""
    square = (1.0, 0.0, 0.0)
    assert [evaluate_within(square, x, 0.5, 2.0) for x in (0.0, 0.25, 1.0, 4.0)] == [0.0, 0.125, 1.0, 8.0]
    assert evaluate_within((3.0,), 0.0) == 3.0


def test_every_published_polynomial_has_five_coefficients_and_a_source() -> None:
    assert all(len(entry.coefficients) == 5 and entry.source for entry in PUBLISHED.values())
    assert len(PUBLISHED) >= 30
    known = (-1046.55119, 312.563399, -16.9500694, 0.410995971, 0.0374537863)
    assert PUBLISHED["flux.1-kontext-dev"] == Published(known, "ComfyUI-TeaCache", FLUX_DEV)


def test_a_network_is_known_by_its_shape() -> None:
    assert published_for(FLUX_DEV) == ("flux.1-dev", "flux.1-kontext-dev")
    assert published_for(None) == ()


def test_gain_is_that_of_the_paper() -> None:
    """Two tokens, a = b = 1/sqrt(2): G(0) = 1/a; at f = 1/2, S = 4 and G = 2.8284 / 2.5."""
    share = math.sqrt(0.5)
    assert wiener_gain(2, share, share, 2.0).tolist() == pytest.approx([math.sqrt(2), 1.131371])


def _filtered_by_hand(image: np.ndarray[Any, Any], a: float, b: float, beta: float) -> np.ndarray[Any, Any]:
    """The same filter on the whole complex spectrum, channel by channel."""
    gains = []
    for size in image.shape[:2]:
        spectrum = [1 / (abs(f) ** beta + 1e-16) for f in np.fft.fftfreq(size)]
        gains.append([a * s / (a**2 * s + b**2 + 1e-16) for s in spectrum])
    gain = np.array([[g * k for k in gains[1]] for g in gains[0]])
    gain /= gain.mean()
    return np.stack(
        [np.fft.ifft2(np.fft.fft2(channel) * gain).real for channel in np.moveaxis(image, -1, 0)], -1
    )


@pytest.mark.parametrize("grid", [(4, 6), (5, 3), (1, 7)])
@pytest.mark.parametrize("a", [0.01, 0.6, 0.99])
def test_filter_equals_a_second_implementation(grid: tuple[int, int], a: float) -> None:
    h, w = grid
    tokens = torch.randn(2, h * w + 3, 4, generator=torch.Generator().manual_seed(0))
    actual = wiener_filtered(tokens, grid, (a, 1 - a), 2.0)
    for one, given in zip(actual, tokens, strict=True):
        image = given[: h * w].reshape(h, w, 4).double().numpy()
        expected = torch.from_numpy(_filtered_by_hand(image, a, 1 - a, 2.0)).float()
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def _reading(value: Tensor, sigma: float, flow: bool = True) -> Reading:
    return Reading(call=Call(index=0, step=0, sigma=sigma, run=_run(2, flow=flow)), value=value, grid=(3, 4))


def test_without_decay_the_filter_is_none() -> None:
    one, other = (torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    readings = _reading(one, 0.5), _reading(other, 0.7)
    plain, filtered = (_policy(name).measure(*readings) for name in METHODS)
    no_decay = _policy("seacache", beta=0.0).measure(*readings)
    torch.testing.assert_close(no_decay, plain)
    assert not torch.isclose(filtered, plain)


def test_reference_tokens_are_not_looked_at() -> None:
    tokens = torch.randn(1, 15, 8, generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[:, 12:] += 5
    assert _policy("seacache").measure(_reading(changed, 0.5), _reading(tokens, 0.5)) == 0


@pytest.mark.parametrize("flow", [True, False])
def test_each_reading_is_filtered_for_its_own_noise_level(flow: bool) -> None:
    tokens = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(1))
    policy = _policy("seacache")
    now, before = _reading(tokens, 0.4, flow), _reading(tokens, 0.8, flow)
    sides = [wiener_filtered(tokens, (3, 4), r.call.mixing, 2.0) for r in (now, before)]
    expected = (sides[0] - sides[1]).abs().mean() / sides[1].abs().mean()
    torch.testing.assert_close(policy.measure(now, before), expected)
    assert expected > 0


@pytest.mark.parametrize("sigma", [1.0, 0.0])
def test_pure_noise_and_pure_picture_are_measured(sigma: float) -> None:
    tokens = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(1))
    change = _policy("seacache").measure(_reading(tokens * 1.5, sigma), _reading(tokens, sigma))
    assert float(change) == pytest.approx(0.5, rel=1e-4)


def test_half_precision_is_measured_in_single() -> None:
    tokens = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    change = _policy("seacache").measure(_reading(tokens * 2, 0.5), _reading(tokens, 0.5))
    assert change.dtype is torch.float32 and float(change) == pytest.approx(1.0, rel=1e-4)

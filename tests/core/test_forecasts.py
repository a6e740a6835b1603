"""Newton's forecast by hand, and how far it trusts itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cache_core import Call, Run, Snapshot, Target
from cache_core.forecasting import REACH, ForecastConfig, forecast
from cache_core.ops.forecasts import UNTESTED, newton_forecast, persistence
from cache_core.types import MODEL_SITE

NODES = (1.0, 0.7, 0.6, 0.2)


def _features(power: int, nodes: tuple[float, ...] = NODES) -> list[Tensor]:
    """Return features (2, 1, 3) that go as sigma ** power, of two pictures of different size."""
    scale = torch.tensor([1.0, -3.0]).reshape(2, 1, 1)
    return [scale * torch.full((2, 1, 3), node**power) for node in nodes]


@pytest.mark.parametrize("order", [1, 2])
def test_full_trust_continues_a_polynomial_of_its_order_on_uneven_nodes(order: int) -> None:
    found = newton_forecast(_features(order), NODES, 0.1, order, 1.0)
    torch.testing.assert_close(found, _features(order, (0.1,))[0])


def test_half_trust_goes_half_the_way_from_the_newest() -> None:
    newest = _features(1)[-1]
    whole = newton_forecast(_features(1), NODES, 0.1, 1, 1.0)
    half = newton_forecast(_features(1), NODES, 0.1, 1, 0.5)
    torch.testing.assert_close(half, (newest + whole) / 2)


def test_measured_trust_is_full_where_features_move_evenly() -> None:
    measured = newton_forecast(_features(1), NODES, 0.1, 1, None)
    torch.testing.assert_close(measured, _features(1, (0.1,))[0])


def test_measured_trust_is_none_where_features_turn_back() -> None:
    zigzag = [torch.full((1, 2), value) for value in (0.0, 1.0, 0.0)]
    assert torch.equal(newton_forecast(zigzag, (1.0, 0.8, 0.6), 0.4, 2, None), zigzag[-1])


def test_measured_trust_is_of_each_picture_alone() -> None:
    even, zigzag = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 0.0])
    both = [torch.stack([a, b])[:, None] for a, b in zip(even, zigzag, strict=True)]  # (2, 1)
    found = newton_forecast(both, (1.0, 0.8, 0.6), 0.4, 1, None)
    torch.testing.assert_close(found, torch.tensor([[3.0], [0.0]]))


def test_slope_that_nothing_speaks_for_is_half_trusted() -> None:
    found = newton_forecast([torch.zeros(1, 1), torch.ones(1, 1)], (1.0, 0.5), 0.0, 2, None)
    assert found.item() == pytest.approx(1.0 + UNTESTED)


def test_one_feature_is_taken_as_it_is_and_is_a_copy() -> None:
    value = torch.ones(1, 2)
    found = newton_forecast([value], (1.0,), 0.5, 2, None)
    found.zero_()
    assert torch.equal(value, torch.ones(1, 2))


def test_forecast_keeps_the_type_of_the_features() -> None:
    values = [value.to(torch.bfloat16) for value in _features(1)]
    assert newton_forecast(values, NODES, 0.1, 2, None).dtype is torch.bfloat16


def test_persistence_is_the_root_of_the_projection_cut_off_at_0_and_1() -> None:
    older = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    newest = torch.tensor([[0.5, 9.0], [8.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(persistence(newest, older), torch.tensor([[0.5], [1.0], [0.0], [0.0]]))


def _call(sigma: float, cfg: float | None = 1.0) -> Call:
    return Call(index=9, step=9, sigma=sigma, run=Run(sigmas=(1.0, 0.0), cfg=cfg))


def _target(sigma: float, cfg: float | None = 1.0, role: int = 0) -> Target:
    return Target(call=_call(sigma, cfg), site=MODEL_SITE, stream=0, role=role)


def _snapshots(*sigmas: float) -> tuple[Snapshot, ...]:
    run = Run(sigmas=(1.0, 0.0))
    return tuple(
        Snapshot(call=Call(index=i, step=i, sigma=sigma, run=run), value=torch.full((1, 1), 10.0 * sigma + i))
        for i, sigma in enumerate(sigmas)
    )


def test_of_calls_at_one_noise_level_the_newest_counts() -> None:
    """As of Heun's second call and the next step's first."""
    found = forecast(_snapshots(1.0, 0.5, 0.5), _target(0.0), ForecastConfig(order=1))
    assert found.item() == pytest.approx(7.0 + UNTESTED * (7.0 - 10.0))


@pytest.mark.parametrize(
    ("order", "trust", "memory"),
    [(0, "measured", 1), (1, "full", 2), (2, "half", 3), (1, "measured", 3), (2, "measured", 4)],
)
def test_memory_is_what_order_and_trust_need(order: int, trust: str, memory: int) -> None:
    assert ForecastConfig(order=order, trust=trust).memory == memory  # type: ignore[arg-type]


def test_snapshots_beyond_the_memory_are_left_alone() -> None:
    settings = ForecastConfig(order=1, trust="full")
    assert torch.equal(
        forecast(_snapshots(1.0, 0.6, 0.5), _target(0.2), settings),
        forecast(_snapshots(9.0, 0.6, 0.5), _target(0.2), settings),
    )


def _between(cfg: float | None, *sigmas: float, order: int = 2, role: int = 0) -> tuple[int, float | None]:
    """Return what is resolved at the last of `sigmas` from calls at the others."""
    known = [_call(sigma, cfg) for sigma in sigmas[:-1]]
    return ForecastConfig(order=order).resolved(_target(sigmas[-1], cfg, role), known)


def _trust(cfg: float | None, span: float, role: int = 0) -> float:
    """Return the trust of a line over a span of noise, as a schedule of shift 1 counts it."""
    end, middle, start = (2 * u / (1 + u) for u in (0.6 - span, 0.6 - span / 2, 0.6))
    _, trust = _between(cfg, start, middle, end, role=role)
    assert trust is not None
    return trust


def test_auto_measures_without_guidance() -> None:
    assert _between(1.0, 0.9, 0.8, 0.7) == (2, None)


@pytest.mark.parametrize("cfg", [4.0, None, -2.0])
def test_auto_trusts_a_line_with_guidance_the_less_the_more_noise_it_spans(cfg: float | None) -> None:
    assert _between(cfg, 0.9, 0.8, 0.78, 0.75)[0] == 1
    assert 0.0 < _trust(cfg, 0.2) < _trust(cfg, 0.1) < 1.0
    assert _trust(cfg, 0.4) == 0.0


@pytest.mark.parametrize("cfg", [1.5, 2.0, 4.0, 7.0])
def test_the_reach_of_a_line_is_the_shorter_the_stronger_the_guidance(cfg: float) -> None:
    reach = REACH / (cfg - 1)
    assert _trust(cfg, min(reach / 2, 0.5)) == pytest.approx(1 - min(reach / 2, 0.5) / reach)


@pytest.mark.parametrize("cfg", [2.0, 4.0, 0.0, -2.0])
@pytest.mark.parametrize("span", [0.02, 0.05])
def test_the_unguided_prediction_is_trusted_fully_where_both_are_mixed(cfg: float, span: float) -> None:
    """N + s (P - N) of lines P and N, each held back by its own trust: nothing of N, and a part of P - N."""
    positive, negative = _trust(cfg, span), _trust(cfg, span, role=1)
    assert cfg * positive + (1 - cfg) * negative == pytest.approx(1.0)


@pytest.mark.parametrize("cfg", [0.7, 1.5, 4.0])
@pytest.mark.parametrize("role", [0, 1])
def test_guidance_written_from_the_other_side_is_the_same(cfg: float, role: int) -> None:
    """N + s (P - N) is P + (1 - s) (N - P)."""
    assert _trust(cfg, 0.1, role) == pytest.approx(_trust(1 - cfg, 0.1, 1 - role))


@pytest.mark.parametrize("cfg", [1.2, 4.0, -0.5, -3.0])
@pytest.mark.parametrize("span", [0.0, 0.1, 0.25, 0.5])
def test_no_trust_leaves_0_to_1(cfg: float, span: float) -> None:
    assert all(0.0 <= _trust(cfg, span, role=role) <= 1.0 for role in (0, 1))


def test_where_guidance_is_unknown_both_predictions_are_trusted_alike() -> None:
    assert _trust(None, 0.1) == _trust(None, 0.1, role=1) == pytest.approx(_trust(4.0, 0.1))


def test_auto_with_guidance_never_raises_the_order() -> None:
    assert _between(4.0, 0.9, 0.8, 0.75, order=0)[0] == 0


def test_chosen_trust_holds_with_and_without_guidance() -> None:
    settings = ForecastConfig(order=2, trust="full")
    for cfg in (4.0, 1.0):
        assert settings.resolved(_target(0.5, cfg), [_call(0.5, cfg)]) == (2, 1.0)

"""FORA in the real host: the published schedules, longer intervals, and the node's refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import oracle
import pytest
import real
import torch


@pytest.mark.parametrize("anchor", ["end", "start"])
@pytest.mark.parametrize("interval", [2, 3, 5])
def test_refresh_ratio_is_the_papers_arithmetic(
    flux: Any, cached: Callable[..., Any], report: Callable[[Any], Any], anchor: str, interval: int
) -> None:
    model = cached(flux, interval=interval, anchor=anchor)
    real.sample(model, steps=20)
    full = oracle.fora_full_calls(20, interval, anchor)
    run = report(model)
    assert [call.full for call in run.calls] == [i in full for i in range(20)]
    assert run.refresh_ratio == pytest.approx(len(full) / 20)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_features_of_any_age_equal_the_oracle(flux: Any, cached: Callable[..., Any], cfg: float) -> None:
    actual = real.sample(cached(flux, interval=3), steps=6, cfg=cfg)
    with oracle.replayed("flux", real.network_of(flux), "module", oracle.fora_full_calls(6, 3, "end")):
        expected = real.sample(flux, steps=6, cfg=cfg)
    assert torch.equal(actual, expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interval": 0}, ("'interval'", "0", "at least 1")),
        ({"interval": 0, "anchor": "middle"}, ("'interval'", "'anchor'", "'middle'", "'end', 'start'")),
    ],
)
def test_the_node_refuses_invalid_settings_all_at_once(
    flux: Any, cached: Callable[..., Any], settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        cached(flux, **settings)
    assert all(word in str(caught.value) for word in words)

"""Other caches beside ours: refused, in words that name both nodes, wherever the other stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import real
from cells.base import FAMILIES, MODELS, ksampler
from stock import stock

GROUP = "other caches"
CACHES = {"EasyCacheNode": "EasyCache", "LazyCacheNode": "LazyCache"}
SETTINGS = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", CACHES)
def test_a_cache_before_ours_is_refused_when_ours_is_applied(
    host: real.Host, attach: Callable[..., Any], node: str, family: str
) -> None:
    model = stock(node, model=MODELS[family](), **SETTINGS)[0]
    with pytest.raises(ValueError, match=rf"Feature Cache node \(FORA: .*'{CACHES[node]}'.*Remove one of"):
        attach(model)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", CACHES)
def test_a_cache_behind_ours_is_refused_when_sampling_starts(
    host: real.Host, attach: Callable[..., Any], node: str, family: str
) -> None:
    plain = MODELS[family]()
    model = stock(node, model=attach(plain), **SETTINGS)[0]
    calls: list[None] = []
    handle = real.network_of(plain).register_forward_hook(lambda *args: calls.append(None))
    with pytest.raises(ValueError, match=rf"Feature Cache node \(FORA: .*'{CACHES[node]}'.*Remove one of"):
        ksampler(model)
    handle.remove()
    assert calls == [], "refused before the first step"
    assert real.instance_forwards(plain) == []


@pytest.mark.parametrize("order", ["before", "behind"])
def test_a_cache_of_keys_and_values_is_refused(
    host: real.Host, attach: Callable[..., Any], order: str
) -> None:
    """It drops tokens after the first call: what was kept of that call would not fit the others."""
    model = real.random_flux2()
    words = r"Feature Cache node \(FORA: .*'Flux KV Cache'.*reference pictures.*Remove one of"
    if order == "before":
        model = stock("FluxKVCache", model=model)[0]
        with pytest.raises(ValueError, match=words):
            attach(model)
        return
    model = stock("FluxKVCache", model=attach(model))[0]
    with pytest.raises(ValueError, match=words):
        ksampler(model)


@pytest.mark.parametrize("node", CACHES)
def test_the_other_cache_still_works_on_the_model_before_our_node(
    host: real.Host, attach: Callable[..., Any], last: Callable[[Any], Any], node: str
) -> None:
    """Two branches of one graph, one with each cache, do not meet."""
    plain = MODELS["flux"]()
    ours, theirs = attach(plain, interval=2), stock(node, model=plain, **SETTINGS)[0]
    expected = ksampler(theirs)
    assert last(ours) is None
    ksampler(ours)
    assert (ksampler(theirs) == expected).all()
    assert last(ours).num_reused > 0

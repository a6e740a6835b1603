from __future__ import annotations

import torch
import toy

from cache_core import Call, FeatureStore, Level, Run, Site

SITE = Site(level=Level.MODULE, path="blocks", index=0, part="mlp")


def _call(index: int) -> Call:
    return Call(index=index, step=index, sigma=1.0, run=Run(sigmas=(1.0, 0.0)))


def test_what_goes_in_is_copied() -> None:
    store, value = FeatureStore(1), torch.ones(2)
    store.put(toy.lane(), SITE, _call(0), (value,))
    value.zero_()
    assert store.histories(toy.lane(), SITE)[0][0].value.tolist() == [1, 1]


def test_bytes_are_counted_over_streams_and_snapshots() -> None:
    store = FeatureStore(2)
    for index in range(3):
        store.put(toy.lane(), SITE, _call(index), (torch.ones(4), torch.ones(2, dtype=torch.float16)))
    assert store.num_bytes == store.peak_bytes == 2 * (4 * 4 + 2 * 2)
    histories = store.histories(toy.lane(), SITE)
    assert [[snapshot.call.index for snapshot in history] for history in histories] == [[1, 2], [1, 2]]
    store.clear()
    assert (store.num_bytes, store.peak_bytes) == (0, 40)


def test_peak_stays_when_less_is_held() -> None:
    store = FeatureStore(1)
    store.put(toy.lane(), SITE, _call(0), (torch.ones(8),))
    store.put(toy.lane(), SITE, _call(1), (torch.ones(2),))
    assert (store.num_bytes, store.peak_bytes) == (8, 32)


def test_lanes_are_dropped_alone() -> None:
    store = FeatureStore(1)
    store.put(toy.lane("a"), SITE, _call(0), (torch.ones(1),))
    store.put(toy.lane("b"), SITE, _call(0), (torch.ones(1),))
    store.drop(toy.lane("a"))
    assert not store.has(toy.lane("a"), SITE)
    assert store.has(toy.lane("b"), SITE)
    assert store.num_bytes == 4


def test_asking_does_not_create() -> None:
    store = FeatureStore(1)
    assert not store.has(toy.lane(), SITE)
    store.drop(toy.lane())
    assert store.num_bytes == 0


def test_stored_tensors_carry_no_gradient() -> None:
    store = FeatureStore(1)
    store.put(toy.lane(), SITE, _call(0), (torch.ones(1, requires_grad=True) * 2,))
    assert not store.histories(toy.lane(), SITE)[0][0].value.requires_grad

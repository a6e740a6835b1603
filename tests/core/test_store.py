from __future__ import annotations

import weakref
from dataclasses import replace

import torch
import toy

from cache_core import Call, FeatureStore, Level, MemoryReport, Residence, Run, Site

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


def test_a_full_history_is_written_over_in_place() -> None:
    store = FeatureStore(1)
    store.put(toy.lane(), SITE, _call(0), (torch.ones(2),))
    place = store.histories(toy.lane(), SITE)[0][0].value.data_ptr()
    store.put(toy.lane(), SITE, _call(1), (torch.full((2,), 5.0),))
    (snapshot,) = store.histories(toy.lane(), SITE)[0]
    assert (snapshot.value.data_ptr(), snapshot.value.tolist(), snapshot.call.index) == (place, [5, 5], 1)


def test_a_feature_of_another_size_takes_new_room() -> None:
    store = FeatureStore(1)
    store.put(toy.lane(), SITE, _call(0), (torch.ones(2),))
    store.put(toy.lane(), SITE, _call(1), (torch.ones(3),))
    assert store.histories(toy.lane(), SITE)[0][0].value.tolist() == [1, 1, 1]
    assert store.num_bytes == 12


def test_the_report_has_the_bytes_of_each_device() -> None:
    store = FeatureStore(1)
    store.put(toy.lane(), SITE, _call(0), (torch.ones(4, dtype=torch.float16),))
    report = store.end()
    assert (report.peak_by_device, report.peak_bytes, report.end_bytes) == ((("cpu", 8),), 8, 0)


def test_reports_of_two_stores_add_up() -> None:
    one = MemoryReport(peak_bytes=5, peak_by_device=(("cpu", 5),), given_up=("a",), num_non_finite=1)
    two = MemoryReport(peak_bytes=3, peak_by_device=(("cpu", 2), ("meta", 1)), first_non_finite="b at step 0")
    both = one.beside(two)
    assert (both.peak_bytes, both.peak_by_device) == (8, (("cpu", 7), ("meta", 1)))
    assert (both.given_up, both.num_non_finite, both.first_non_finite) == (("a",), 1, "b at step 0")


def test_what_the_budget_refuses_is_not_held_and_named() -> None:
    store = FeatureStore(1, Residence(budget=8))
    sites = [replace(SITE, index=index) for index in range(3)]
    for index in range(2):
        for site in sites:
            store.put(toy.lane(), site, _call(index), (torch.ones(1),))
    assert [store.has(toy.lane(), site) for site in sites] == [True, True, False]
    report = store.end()
    assert (report.peak_bytes, report.budget, report.given_up) == (8, 8, ("blocks.2.mlp",))


def test_a_feature_that_outgrows_the_budget_is_forgotten() -> None:
    store = FeatureStore(1, Residence(budget=8))
    store.put(toy.lane(), SITE, _call(0), (torch.ones(1),))
    store.put(toy.lane(), SITE, _call(1), (torch.ones(3),))
    assert not store.has(toy.lane(), SITE)
    assert store.num_bytes == 0


def test_a_budget_has_room_for_the_whole_history_or_none() -> None:
    """Two snapshots of four bytes fit into eight; the next site could keep one, and keeps none."""
    store = FeatureStore(2, Residence(budget=12))
    second = replace(SITE, index=1)
    for index in range(2):
        for site in (SITE, second):
            store.put(toy.lane(), site, _call(index), (torch.ones(1),))
    assert (store.has(toy.lane(), SITE), store.has(toy.lane(), second)) == (True, False)
    assert len(store.histories(toy.lane(), SITE)[0]) == 2


def test_smaller_types_count_what_they_hold_against_the_budget() -> None:
    store = FeatureStore(1, Residence(dtype=torch.bfloat16, budget=4))
    store.put(toy.lane(), SITE, _call(0), (torch.ones(2),))
    assert (store.has(toy.lane(), SITE), store.num_bytes) == (True, 4)


def test_tensors_die_with_the_run() -> None:
    store = FeatureStore(2, Residence(dtype=torch.bfloat16))
    for index in range(2):
        store.put(toy.lane(), SITE, _call(index), (torch.ones(4),))
    shelves = [
        weakref.ref(shelf)
        for sites in store._lanes.values()
        for history in sites.values()
        for kept in history
        for slot in kept.slots
        for shelf in slot._shelves
    ]
    assert len(shelves) == 2
    store.end()
    assert [shelf() for shelf in shelves] == [None, None]

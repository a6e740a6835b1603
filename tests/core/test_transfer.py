"""Carriers; the streamed one on a copy queue that does every copy as late as it may, so that a missing wait shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import toy
from torch import Tensor

from cache_core import Call, FeatureStore, Level, Residence, Run, Site
from cache_core.transfer import NUM_STAGES, PlainCarrier, StreamCarrier, make_carrier

CPU = torch.device("cpu")
RUN = Run(sigmas=(1.0, 0.0))
SITES = [Site(level=Level.MODULE, path="blocks", index=index, part="mlp") for index in range(5)]


class LazyStream:
    """A copy queue whose copies run only when somebody waits for them: the latest moment a device may choose.

    A mark is a number of copies: the moment when so many are done.
    """

    def __init__(self) -> None:
        self.queue: list[Callable[[], object]] = []
        self.num_done = 0
        self.shared: list[Tensor] = []

    def new_shelf(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.full(tuple(shape), float("nan"), dtype=dtype)

    def share(self, tensor: Tensor) -> None:
        self.shared.append(tensor)

    def mark(self) -> int:
        return 0

    def wait(self, mark: int) -> None:
        for copy in self.queue[self.num_done : mark]:
            copy()
        self.num_done = max(self.num_done, mark)

    def copy(self, target: Tensor, source: Tensor, after: int) -> int:
        self.queue.append(lambda: target.copy_(source))
        return len(self.queue)


class EagerStream(LazyStream):
    """A copy queue whose copies run as soon as they may: what is lent must not be in their way."""

    def copy(self, target: Tensor, source: Tensor, after: int) -> int:
        mark = super().copy(target, source, after)
        self.wait(mark)
        return mark


def _carrier(stream: LazyStream | None = None) -> tuple[StreamCarrier[int], LazyStream]:
    stream = stream or LazyStream()
    return StreamCarrier(stream, CPU), stream


def _number(index: int) -> Tensor:
    return torch.full((2,), float(index))


def test_what_was_put_comes_back_however_late_the_copies_run() -> None:
    carrier, _ = _carrier()
    shelves = [carrier.shelf((2,), torch.float32) for _ in range(7)]
    for index, shelf in enumerate(shelves):
        value = _number(index)
        carrier.put(value, shelf)
        value.fill_(-1)
    assert [carrier.bring(shelf)().tolist() for shelf in shelves] == [[float(i)] * 2 for i in range(7)]


def test_a_shelf_is_not_overwritten_before_it_was_read() -> None:
    carrier, _ = _carrier()
    shelf = carrier.shelf((2,), torch.float32)
    carrier.put(_number(1), shelf)
    arrival = carrier.bring(shelf)
    carrier.put(_number(2), shelf)
    assert arrival().tolist() == [1, 1]
    assert carrier.bring(shelf)().tolist() == [2, 2]


def test_putting_does_not_wait_until_the_stages_are_all_in_use() -> None:
    carrier, stream = _carrier()
    shelves = [carrier.shelf((2,), torch.float32) for _ in range(NUM_STAGES + 1)]
    for shelf in shelves[:NUM_STAGES]:
        carrier.put(_number(1), shelf)
    assert stream.num_done == 0
    carrier.put(_number(1), shelves[NUM_STAGES])
    assert stream.num_done == 1


def test_stages_are_reused_counted_and_kept_for_the_copies() -> None:
    carrier, stream = _carrier()
    for shape in ((2,), (2,), (3,)):
        carrier.put(torch.ones(shape), carrier.shelf(shape, torch.float32))
    assert carrier.staged_bytes == NUM_STAGES * (8 + 12)
    assert len(stream.shared) == 2 * NUM_STAGES


def test_the_copy_to_look_at_is_what_was_put_in_the_held_type() -> None:
    carrier, _ = _carrier()
    seen = carrier.put(torch.tensor([1.0009765625]), carrier.shelf((1,), torch.bfloat16))
    assert (seen.dtype, seen.item()) == (torch.bfloat16, 1.0)


def test_plain_carrier_lends_what_lies_where_it_is_needed() -> None:
    carrier = PlainCarrier(CPU, CPU)
    shelf = carrier.shelf((2,), torch.float32)
    assert carrier.put(_number(3), shelf) is shelf
    assert carrier.bring(shelf)() is shelf
    assert carrier.staged_bytes == 0


def test_only_cuda_to_host_memory_is_streamed() -> None:
    assert isinstance(make_carrier(CPU, CPU), PlainCarrier)
    assert isinstance(make_carrier(torch.device("cuda"), torch.device("cuda")), PlainCarrier)
    assert isinstance(make_carrier(torch.device("mps"), CPU), PlainCarrier)


def test_what_is_lent_stays_until_it_is_reclaimed_and_is_then_used_again() -> None:
    carrier, _ = _carrier(EagerStream())
    shelves = [carrier.shelf((2,), torch.float32) for _ in range(4)]
    for index, shelf in enumerate(shelves):
        carrier.put(_number(index), shelf)
    staged = carrier.staged_bytes
    first, second = carrier.bring(shelves[0])(), carrier.bring(shelves[1])()
    ahead = carrier.bring(shelves[2])
    assert (first.tolist(), second.tolist()) == ([0, 0], [1, 1])
    carrier.reclaim()
    assert (ahead().tolist(), carrier.bring(shelves[3])().tolist()) == ([2, 2], [3, 3])
    assert carrier.staged_bytes - staged == 3 * 8


def test_a_copy_back_waits_for_the_computation_that_read_the_stage_before() -> None:
    """The computation is at moment 7 when the stage is reclaimed; no copy into it may run before."""
    moments: list[int] = []

    class Noting(EagerStream):
        moment = 5

        def mark(self) -> int:
            return self.moment

        def copy(self, target: Tensor, source: Tensor, after: int) -> int:
            moments.append(after)
            return super().copy(target, source, after)

    stream = Noting()
    carrier, _ = _carrier(stream)
    shelf = carrier.shelf((2,), torch.float32)
    carrier.bring(shelf)()
    stream.moment = 7
    carrier.reclaim()
    carrier.bring(shelf)
    assert moments == [5, 7]


@pytest.mark.parametrize("kind", [LazyStream, EagerStream])
@pytest.mark.parametrize("dtype", [None, torch.float8_e4m3fn])
def test_a_store_on_a_stream_gives_what_a_plain_one_gives(
    kind: type[LazyStream], dtype: torch.dtype | None
) -> None:
    """Five sites and two lanes over six calls; in the odd ones the first two sites are read, the others computed."""
    streamed = FeatureStore(2, Residence(device=CPU, dtype=dtype))
    plain = FeatureStore(2, Residence(dtype=dtype))
    streamed._carriers[CPU], stream = _carrier(kind())
    lanes = [toy.lane("a"), toy.lane("b")]
    for index in range(6):
        call, reads = Call(index=index, step=index, sigma=1.0, run=RUN), SITES[:2] if index % 2 else []
        streamed.expect((lane, site) for site in reads for lane in lanes)
        for site in SITES:
            for number, lane in enumerate(lanes):
                if site in reads:
                    assert _values(streamed, lane, site) == _values(plain, lane, site)
                else:
                    value = torch.tensor([100.0 * index + 10 * site.index + number])
                    for store in (streamed, plain):
                        store.put(lane, site, call, (value.clone(),))
    assert stream.num_done > 0
    # Two stages out, and on the way back two snapshots of three sites, of each kind of shelf.
    kinds = 1 if dtype is None else 2
    assert len(stream.shared) <= kinds * (NUM_STAGES + 2 * 3)


def test_stages_are_in_the_stores_count() -> None:
    store = FeatureStore(1, Residence(device=CPU))
    store._carriers[CPU], _ = _carrier()
    store.put(toy.lane(), SITES[0], Call(index=0, step=0, sigma=1.0, run=RUN), (torch.ones(1),))
    assert (store.num_bytes, store.end().peak_by_device) == (4, (("cpu", 4 + NUM_STAGES * 4),))


def test_expected_features_are_on_their_way_before_they_are_asked_for() -> None:
    store = FeatureStore(1, Residence(device=CPU))
    store._carriers[CPU], stream = _carrier()
    for site in SITES:
        store.put(toy.lane(), site, Call(index=0, step=0, sigma=1.0, run=RUN), (torch.ones(1),))
    queued = len(stream.queue)
    store.expect((toy.lane(), site) for site in SITES)
    store.histories(toy.lane(), SITES[0])
    assert len(stream.queue) - queued == 3
    store.histories(toy.lane(), SITES[1])
    assert len(stream.queue) - queued == 4


def _values(store: FeatureStore, lane: object, site: Site) -> list[list[float]]:
    return [[snapshot.value.item() for snapshot in history] for history in store.histories(lane, site)]  # type: ignore[arg-type]

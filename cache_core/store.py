"""The only owner of cached tensors."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from .allowance import Allowance
from .residence import Residence, Slot
from .transfer import Carrier, make_carrier
from .types import Call, Feature, History, Lane, Site, Snapshot
from .watch import FiniteWatch

NUM_AHEAD = 2
"""How many features are on their way to the network while an earlier one is being used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """What a run held. Numbers and names only, so it may outlive the run.

    Attributes:
        peak_bytes: Most bytes held at any time, on all devices together.
        end_bytes: Bytes held after the run: 0.
        peak_by_device: Most bytes held on each device, what waits there for its way to another included.
        budget: Most bytes of features that were allowed; None for no limit.
        given_up: Sites that were not held, in at least one branch, because the budget was used up.
        num_non_finite: Held features with a number in them that is infinite or not a number.
        first_non_finite: Site and step of the first of those; empty if there is none.
    """

    peak_bytes: int = 0
    end_bytes: int = 0
    peak_by_device: tuple[tuple[str, int], ...] = ()
    budget: int | None = None
    given_up: tuple[str, ...] = ()
    num_non_finite: int = 0
    first_non_finite: str = ""

    def beside(self, other: MemoryReport) -> MemoryReport:
        """Return the report of this store and a smaller one that lived beside it under no budget."""
        peaks = Counter(dict(self.peak_by_device)) + Counter(dict(other.peak_by_device))
        return replace(
            self,
            peak_bytes=self.peak_bytes + other.peak_bytes,
            end_bytes=self.end_bytes + other.end_bytes,
            peak_by_device=tuple(sorted(peaks.items())),
            num_non_finite=self.num_non_finite + other.num_non_finite,
            first_non_finite=self.first_non_finite or other.first_non_finite,
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """One snapshot of a feature: a slot per stream."""

    call: Call
    slots: tuple[Slot, ...]


class FeatureStore:
    """Copies of features by lane and site, with a count of their bytes.

    What goes in is copied, so a block that writes in place cannot change it. What comes out as history is lent
    for reading until the store is next used; a policy turns it into a new tensor before the network sees it.
    """

    def __init__(self, memory: int, residence: Residence | None = None, num_lanes: int = 1) -> None:
        """Create an empty store that keeps the last `memory` snapshots of each site and lane.

        Args:
            memory: Snapshots per site and lane.
            residence: Where, in which type, and how many bytes; by default exact copies where they are made.
            num_lanes: Lanes that are expected, among which a budget is shared equally.
        """
        self._memory = memory
        self._residence = residence or Residence()
        self._lanes: dict[Lane, dict[Site, deque[_Kept]]] = defaultdict(dict)
        self._carriers: dict[torch.device, Carrier] = {}
        self._held: Counter[torch.device] = Counter()
        self._ahead: deque[tuple[Lane, Site]] = deque()
        self._allowance = Allowance(self._residence.budget, num_lanes)
        self._watch = FiniteWatch()
        self._peaks: Counter[str] = Counter()
        self.peak_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of features that are held now."""
        return self._held.total()

    def put(self, lane: Lane, site: Site, call: Call, feature: Feature) -> None:
        """Copy `feature` in, in place of the oldest snapshot where `memory` is full; not if it is over the budget."""
        self._reclaim()
        if not self._is_granted(lane, site, feature):
            self._forget(self._lanes[lane].pop(site, ()))
            return
        kept = self._lanes[lane].setdefault(site, deque())
        slots = self._slots(feature, kept)
        kept.append(_Kept(call, slots))
        copies = [slot.write(stream.detach()) for slot, stream in zip(slots, feature, strict=True)]
        self._watch.look(call, site, copies)

    def has(self, lane: Lane, site: Site) -> bool:
        """Return whether the lane has a snapshot of the site."""
        return site in self._lanes.get(lane, {})

    def expect(self, wanted: Iterable[tuple[Lane, Site]]) -> None:
        """Note which histories will be asked for, in that order, so that they are on their way by then."""
        # Where they are made they need not travel.
        self._ahead = deque() if self._residence.device is None else deque(wanted)

    def histories(self, lane: Lane, site: Site) -> tuple[History, ...]:
        """Return one history per stream of the feature, in the feature's own type and on its own device.

        Raises:
            KeyError: If nothing is stored; ask `has` first.
        """
        self._reclaim()
        snapshots = [
            [Snapshot(call=kept.call, value=slot.read()) for slot in kept.slots]
            for kept in self._lanes[lane][site]
        ]
        self._bring_next(lane, site)
        return tuple(zip(*snapshots, strict=True))

    def drop(self, lane: Lane) -> None:
        """Forget everything about `lane`."""
        for kept in self._lanes.pop(lane, {}).values():
            self._forget(kept)
        self._allowance.release(lane)

    def clear(self) -> None:
        """Forget everything."""
        for lane in list(self._lanes):
            self.drop(lane)
        self._ahead.clear()
        self._carriers.clear()

    def end(self) -> MemoryReport:
        """Forget everything and return what was held, given up and found; waits once for each device."""
        non_finite, first = self._watch.close()
        self.clear()
        return MemoryReport(
            peak_bytes=self.peak_bytes,
            end_bytes=self.num_bytes,
            peak_by_device=tuple(sorted(self._peaks.items())),
            budget=self._residence.budget,
            given_up=tuple(map(str, self._allowance.refused)),
            num_non_finite=non_finite,
            first_non_finite=first,
        )

    def _reclaim(self) -> None:
        for carrier in self._carriers.values():
            carrier.reclaim()

    def _is_granted(self, lane: Lane, site: Site, feature: Feature) -> bool:
        if self._residence.budget is None:
            return True
        needed = sum(self._residence.num_bytes(stream.shape, stream.dtype) for stream in feature)
        return self._allowance.grant(lane, site, needed * self._memory)

    def _slots(self, feature: Feature, kept: deque[_Kept]) -> tuple[Slot, ...]:
        """Return the slots of the oldest snapshot, taken out of a full history, where they fit; else new ones."""
        if len(kept) == self._memory:
            oldest = kept.popleft()
            if all(slot.fits(stream) for slot, stream in zip(oldest.slots, feature, strict=True)):
                return oldest.slots
            self._forget((oldest,))
        slots = tuple(self._slot(stream) for stream in feature)
        for slot in slots:
            self._held[slot.device] += slot.num_bytes
        self._note_peak()
        return slots

    def _slot(self, stream: Tensor) -> Slot:
        device = stream.device
        if device not in self._carriers:
            self._carriers[device] = make_carrier(device, self._residence.device_for(device))
        return Slot(stream, self._residence.dtype_for(stream.dtype), self._carriers[device])

    def _bring_next(self, lane: Lane, site: Site) -> None:
        while self._ahead and self._ahead.popleft() != (lane, site):
            pass
        for following, place in islice(self._ahead, NUM_AHEAD):
            for kept in self._lanes.get(following, {}).get(place, ()):
                for slot in kept.slots:
                    slot.fetch()
        if self._residence.device is not None:
            self._note_peak()

    def _forget(self, every: Iterable[_Kept]) -> None:
        for kept in every:
            for slot in kept.slots:
                self._held[slot.device] -= slot.num_bytes

    def _note_peak(self) -> None:
        held = self._held.copy()
        for device, carrier in self._carriers.items():
            held[device] += carrier.staged_bytes
        self.peak_bytes = max(self.peak_bytes, held.total())
        for device, num_bytes in held.items():
            self._peaks[str(device)] = max(self._peaks[str(device)], num_bytes)

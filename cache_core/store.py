"""The only owner of cached tensors."""

from __future__ import annotations

from collections import defaultdict, deque

from .types import Call, Feature, History, Lane, Site, Snapshot


class FeatureStore:
    """Copies of features by lane and site, with a count of their bytes.

    What goes in is copied, so a block that writes in place cannot change it. What comes out as history is lent
    for reading; a policy turns it into a new tensor before the network sees it.
    """

    def __init__(self, memory: int) -> None:
        """Create an empty store that keeps the last `memory` snapshots of each site and lane."""
        self._memory = memory
        self._lanes: dict[Lane, dict[Site, deque[tuple[Snapshot, ...]]]] = defaultdict(dict)
        self.num_bytes = 0
        self.peak_bytes = 0

    def put(self, lane: Lane, site: Site, call: Call, feature: Feature) -> None:
        """Copy `feature` in, in place of the oldest snapshot where `memory` is full."""
        kept = self._lanes[lane].setdefault(site, deque())
        if len(kept) == self._memory:
            self.num_bytes -= _size(kept.popleft())
        snapshots = tuple(Snapshot(call=call, value=stream.detach().clone()) for stream in feature)
        kept.append(snapshots)
        self.num_bytes += _size(snapshots)
        self.peak_bytes = max(self.peak_bytes, self.num_bytes)

    def has(self, lane: Lane, site: Site) -> bool:
        """Return whether the lane has a snapshot of the site."""
        return site in self._lanes.get(lane, {})

    def histories(self, lane: Lane, site: Site) -> tuple[History, ...]:
        """Return one history per stream of the feature.

        Raises:
            KeyError: If nothing is stored; ask `has` first.
        """
        return tuple(zip(*self._lanes[lane][site], strict=True))

    def drop(self, lane: Lane) -> None:
        """Forget everything about `lane`."""
        self.num_bytes -= sum(_size(s) for kept in self._lanes.pop(lane, {}).values() for s in kept)

    def clear(self) -> None:
        """Forget everything."""
        for lane in list(self._lanes):
            self.drop(lane)


def _size(snapshots: tuple[Snapshot, ...]) -> int:
    return sum(snapshot.value.numel() * snapshot.value.element_size() for snapshot in snapshots)

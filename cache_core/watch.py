"""Finds features that are not finite, without waiting for the device while the run lasts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from .types import Call, Site


class FiniteWatch:
    """Sums of features, which are read once, when the run is over.

    The sum of a feature, in float32, is finite exactly if all its numbers are and can be added; it costs one read of
    memory that is still in the cache. A decision that depended on it would have to wait for the device at every site.
    """

    def __init__(self) -> None:
        """Start with nothing looked at."""
        self._looks: list[tuple[Call, Site, Tensor]] = []

    def look(self, call: Call, site: Site, feature: Iterable[Tensor]) -> None:
        """Remember the sum of `feature`, made by `site` in `call`."""
        sums = [stream.sum(dtype=torch.float32) for stream in feature]
        self._looks.append((call, site, torch.stack(sums).sum() if len(sums) > 1 else sums[0]))

    def close(self) -> tuple[int, str]:
        """Return how many features were not finite, and where the first was; forget them all."""
        found = [
            (call, site) for (call, site, _), ok in zip(self._looks, self._verdicts(), strict=True) if not ok
        ]
        self._looks.clear()
        return len(found), f"{found[0][1]} at step {found[0][0].step}" if found else ""

    def _verdicts(self) -> list[bool]:
        """Return for every look whether it is finite: one transfer per device."""
        places: dict[torch.device, list[int]] = defaultdict(list)
        for place, (_, _, total) in enumerate(self._looks):
            places[total.device].append(place)
        verdicts = [True] * len(self._looks)
        for where in places.values():
            finite = torch.stack([self._looks[place][2] for place in where]).isfinite().tolist()
            for place, verdict in zip(where, finite, strict=True):
                verdicts[place] = verdict
        return verdicts

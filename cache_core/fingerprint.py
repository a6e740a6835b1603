"""The fingerprint of a live network, which artefacts are checked against."""

from __future__ import annotations

from collections import Counter

from .adapter import Adapter
from .artefact import Architecture
from .types import Level


def fingerprint(adapter: Adapter, level: Level) -> Architecture:
    """Return what tells the adapter's network from others: its sites at `level`, blocks and width."""
    blocks = Counter(path for path, _ in {(site.path, site.index) for site in adapter.sites(Level.MODULE)})
    order = dict.fromkeys(site.path for site in adapter.sites(Level.MODULE))
    return Architecture(
        family=adapter.name,
        level=level,
        sites=tuple(map(str, adapter.sites(level))),
        blocks=tuple((path, blocks[path]) for path in order),
        hidden_size=adapter.width,
    )

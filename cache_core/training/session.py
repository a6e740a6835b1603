"""Routes the passes of a network in training: every site that a cached run would cache, differentiably.

The adapters' forward replacements are the ones of a cached run, so the trained sites are exactly the cached ones. What
differs is the answer: a `Treatment` says what becomes of a computed feature and of the one that is kept.

Features that are kept carry no gradient. They change only in `commit`, after the backward pass: a block that is run again
there, because its activations were not kept, must find what it found the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..adapter import Adapter, find_adapter, watched
from ..blocks import Block, BlockAdapter
from ..residence import Residence
from ..scope import ForwardPatch
from ..store import FeatureStore
from ..types import Call, Feature, Indicator, Lane, Level, Site
from .gradients import by_block

See = Callable[[Sequence[Lane], Block, Any], None]
"""Is shown what every block returns for the lanes of a pass."""


class Treatment(Protocol):
    """What one evaluation makes of its sites."""

    def is_reused(self, site: Site) -> bool:
        """Return whether the site is left out where there is a kept feature."""

    def stand_in(self, site: Site, kept: Feature) -> Feature:
        """Return what takes the place of a site that is left out."""

    def settle(self, site: Site, fresh: Feature, kept: Feature | None) -> Feature:
        """Return what becomes of a computed feature, where another one may be kept."""


class Computed:
    """The plain network: every site as it is computed."""

    def is_reused(self, site: Site) -> bool:
        """Leave nothing out."""
        return False

    def stand_in(self, site: Site, kept: Feature) -> Feature:
        """Return a copy of what is kept; never asked for."""
        return tuple(stream.clone() for stream in kept)

    def settle(self, site: Site, fresh: Feature, kept: Feature | None) -> Feature:
        """Keep what was computed."""
        return fresh


class TrainingSession:
    """The features of one sampling, and the evaluation that is under way.

    Attributes:
        call: The call that is being answered; the host routes passes only inside of one.
    """

    def __init__(self, level: Level, residence: Residence | None = None, *, recompute: bool = True) -> None:
        """Begin a sampling without any feature.

        Args:
            level: Level of the sites.
            residence: Where and how features are kept.
            recompute: Whether backward runs every block again instead of keeping its activations.
        """
        self.level, self.recompute = level, recompute
        self.call: Call | None = None
        self._made_in: Call | None = None
        self._treatment: Treatment = Computed()
        self._see: See | None = None
        self._store = FeatureStore(1, residence)
        self._staged: dict[tuple[Lane, Site], Feature] = {}
        self._adapters: dict[int, Adapter] = {}

    def evaluate(
        self,
        call: Call,
        treatment: Treatment,
        predict: Callable[[TrainingSession], Tensor],
        see: See | None = None,
    ) -> Tensor:
        """Return the prediction (B, C, ...) with every site treated so; gradients as they are enabled outside."""
        self.call = self._made_in = call
        self._treatment, self._staged, self._see = treatment, {}, see
        try:
            return predict(self)
        finally:
            self.call = None

    @contextmanager
    def open_pass(self, network: nn.Module, lanes: Sequence[Lane]) -> Iterator[TrainingPass]:
        """Open one pass of `network` that carries `lanes`, in batch order.

        Raises:
            UnsupportedModelError: If no adapter fits the network.
        """
        if id(network) not in self._adapters:
            self._adapters[id(network)] = find_adapter(network)(network)
        adapter = self._adapters[id(network)]
        opened = TrainingPass(self, adapter, tuple(lanes), self._treatment)
        if self._see is not None and isinstance(adapter, BlockAdapter):
            # Outermost, so that a block that is a checkpoint shows what it returns and not what it runs on.
            shown = [
                watched(block.module, partial(self._see, opened.lanes, block)) for block in adapter.blocks
            ]
            opened.patches += tuple(shown)
        yield opened

    def commit(self, is_kept: Callable[[Site], bool] = lambda site: True) -> None:
        """Keep, of what the last evaluation ended up with, the sites that `is_kept` names; after the backward pass."""
        assert self._made_in is not None
        for (lane, site), feature in self._staged.items():
            if is_kept(site):
                self._store.put(lane, site, self._made_in, feature)
        self._staged = {}

    def clear(self) -> None:
        """Forget every feature: the sampling is over."""
        self._store.clear()
        self._staged = {}

    @property
    def num_bytes(self) -> int:
        """Bytes of features that are kept now."""
        return self._store.num_bytes

    def stage(self, lane: Lane, site: Site, feature: Feature) -> None:
        """Set a copy of a feature of one lane aside until `commit`."""
        self._staged[lane, site] = tuple(stream.detach().clone() for stream in feature)

    def has(self, lanes: Sequence[Lane], site: Site) -> bool:
        """Return whether a feature is kept for each of the lanes."""
        return all(self._store.has(lane, site) for lane in lanes)

    def kept(self, lanes: Sequence[Lane], site: Site) -> Feature:
        """Return the kept feature of all lanes in batch order; lent until `commit`."""
        parts = [tuple(history[-1].value for history in self._store.histories(lane, site)) for lane in lanes]
        return tuple(torch.cat(streams) for streams in zip(*parts, strict=True))


class TrainingPass:
    """One network pass in training: the `Router` that an adapter's forward replacements talk to."""

    indicator: Indicator | None = None

    def __init__(
        self, session: TrainingSession, adapter: Adapter, lanes: tuple[Lane, ...], treatment: Treatment
    ) -> None:
        """Bind a treatment to the lanes that this pass carries."""
        self._session, self.lanes, self._treatment = session, lanes, treatment
        self.patches: tuple[ForwardPatch, ...] = tuple(
            by_block(adapter, adapter.patches(session.level, self), recompute=session.recompute)
        )

    def is_reused(self, *sites: Site) -> bool:
        """Return whether all `sites` are left out."""
        return all(self._treatment.is_reused(site) and self._session.has(self.lanes, site) for site in sites)

    def recall(self, site: Site) -> Feature:
        """Return what takes the site's place."""
        return self._treatment.stand_in(site, self._session.kept(self.lanes, site))

    def settle(self, site: Site, feature: Feature) -> Feature:
        """Return what becomes of a computed feature, and set a copy of it aside."""
        kept = self._session.kept(self.lanes, site) if self._session.has(self.lanes, site) else None
        settled = self._treatment.settle(site, feature, kept)
        parts = zip(*(stream.chunk(len(self.lanes)) for stream in settled), strict=True)
        for lane, part in zip(self.lanes, parts, strict=True):
            self._session.stage(lane, site, part)
        return settled

    def route(self, site: Site, compute: Callable[[], Feature]) -> Feature:
        """Recall the site's feature, or compute and settle it."""
        return self.recall(site) if self.is_reused(site) else self.settle(site, compute())

    def timed(self, sites: tuple[Site, ...], compute: Callable[[], Any]) -> Any:
        """Run `compute`; training is not timed."""
        return compute()

    def promise(self, site: Site) -> None:
        """Accept that a module was left out."""

    def awaits(self) -> bool:
        """Wait for no indicator."""
        return False

    def observe(self, value: Tensor) -> None:
        """Look at no indicator."""

"""The contracts of a probe, which looks at features in uncached sampling runs, and of a calibration, which makes a file of that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .artefact import Architecture, Artefact, Sampling, Scalar
from .chart import Chart
from .ops.indicators import relative_l1
from .policy import Config, Evidence, Policy
from .registry import Registry
from .types import Action, Call, Feature, History, Indicator, Lane, Level, Reading, Site, Target

CALIBRATIONS: Registry[Calibration] = Registry("calibration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One feature that was computed for one branch, and what the same lane and site made before.

    Everything is lent until the next sample: read it, keep copies or numbers.

    Attributes:
        call: The call that made it.
        lane: The branch.
        site: The site; the network's own, of level MODEL, for its output.
        feature: One tensor per stream. Dimension 0 holds the pictures of the batch.
        histories: One history per stream, oldest first, up to `Probe.memory` snapshots; empty in a lane's first call.
    """

    call: Call
    lane: Lane
    site: Site
    feature: Feature
    histories: tuple[History, ...] = ()

    @property
    def is_output(self) -> bool:
        """Whether it is the output of the whole network."""
        return self.site.level is Level.MODEL

    @property
    def previous(self) -> Feature | None:
        """The feature of the last call, or None in a lane's first."""
        return tuple(history[-1].value for history in self.histories) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was calibrated and how, as it goes into the artefact.

    Attributes:
        architecture: Fingerprint of the network at the probe's level.
        sampling: The settings of the runs.
        made: Numbers of prompts, seeds and runs, the first seed.
    """

    architecture: Architecture
    sampling: Sampling
    made: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What a calibration found.

    Attributes:
        artefact: What to save.
        charts: What to show, one below the other.
        text: What to tell, one fact per line.
    """

    artefact: Artefact
    charts: tuple[Chart, ...]
    text: str


class Probe(ABC):
    """Sees every feature of a number of uncached runs and gathers numbers.

    An object of its own for those runs. What it gathers stays on the features' device until `close_run`, so that no
    run waits for it, and must not grow with the number of runs.
    """

    name: ClassVar[str]
    """Name in settings."""
    title: ClassVar[str]
    """What it makes, as users call it."""
    config_type: ClassVar[type[Config]]

    def __init__(self, config: Config) -> None:
        """Keep the configuration, which has checked itself."""
        self.config = config

    @property
    @abstractmethod
    def level(self) -> Level:
        """Level of the sites that are seen."""

    @property
    def memory(self) -> int:
        """Earlier features per site and lane that a sample carries."""
        return 1

    @property
    def indicator(self) -> Indicator | None:
        """What to observe in every call, as a dynamic policy does, or None."""
        return None

    @property
    def sees_output(self) -> bool:
        """Whether the output of the network is seen too, as the last sample of each lane and call."""
        return False

    def measure(self, current: Reading, previous: Reading) -> Tensor:
        """Return the change () of the indicator since the last call, of the call's first-listed branch."""
        return relative_l1(current.value, previous.value)

    @abstractmethod
    def see(self, sample: Sample) -> None:
        """Look at a feature that was just computed."""

    def close_call(self, call: Call, observed: float | None) -> None:  # noqa: B027 - most have nothing to do
        """End a call; `observed` is what `measure` made of the indicator, None where there was nothing to compare."""

    def close_run(self) -> None:  # noqa: B027 - most have nothing to do
        """End a run that was not interrupted: the time to read numbers from the device."""


class Calibration(Probe):
    """A probe whose numbers become a file."""

    @abstractmethod
    def findings(self, subject: Subject) -> Findings:
        """Return what all runs together have shown.

        Raises:
            CacheError: If they do not suffice; the text says for what, and what to do.
        """


class Recording(Policy):
    """The policy of a calibration run: computes everything, observes and keeps what the probe asks for."""

    name = "recording"
    title = "Calibration"
    source = "none"
    config_type = Config
    strictest: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, probe: Probe) -> None:
        """Record for `probe`."""
        super().__init__(probe.config)
        self.probe = probe

    @property
    def level(self) -> Level:
        """Level of the sites that are seen."""
        return self.probe.level

    @property
    def memory(self) -> int:
        """Earlier features that the probe asks for."""
        return self.probe.memory

    @property
    def indicator(self) -> Indicator | None:
        """What the probe observes."""
        return self.probe.indicator

    @property
    def label(self) -> str:
        """Name of the calibration in reports."""
        return f"{self.title} of {self.probe.title}"

    def measure(self, current: Reading, previous: Reading) -> Tensor:
        """Measure as the probe does."""
        return self.probe.measure(current, previous)

    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Compute everything."""
        return dict.fromkeys(evidence.sites, Action.COMPUTE)

    def estimate(self, history: History, target: Target) -> Tensor:
        """Return a copy of the newest feature; never asked for, as everything is computed."""
        return history[-1].value.clone()

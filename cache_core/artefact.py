"""A saved, shareable result of calibration or training: what it holds, and what it was made for.

Shapes: T steps in the order they run, S sites in the order they run. `artefact_file` reads and writes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from torch import Tensor

from .errors import ArtefactError
from .layouts import layout_faults
from .types import Level

Scalar = str | int | float | bool

CAUTION = "caution"
"""Of what is told about how a file was made: half a sentence that whoever uses it is told in every run."""

MAX_STEPS = 4096
MAX_SITES = 16384


class Kind(str, Enum):
    """What an artefact is."""

    MASK = "mask"
    ROUTER = "router"
    PROFILE = "profile"
    RATIOS = "ratios"
    COEFFICIENTS = "coefficients"
    SCALE_SHIFT = "scale_shift"
    PRIOR = "prior"
    STEPS = "steps"


REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    Kind.MASK: ("compute",),
    Kind.ROUTER: ("score",),
    Kind.PROFILE: ("profile",),
    Kind.RATIOS: ("ratios",),
    Kind.COEFFICIENTS: ("coefficients",),
    Kind.SCALE_SHIFT: ("scale", "shift"),
    Kind.PRIOR: ("prior",),
    Kind.STEPS: ("compute",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Fingerprint of a network at one level.

    Attributes:
        family: Name of the adapter.
        level: Level of `sites`.
        sites: Names of the sites, in the order they run.
        blocks: Name and length of each list of blocks.
        hidden_size: Width of the token streams, or None where the maker did not say.
    """

    family: str
    level: Level
    sites: tuple[str, ...]
    blocks: tuple[tuple[str, int], ...] = ()
    hidden_size: int | None = None

    def misfits(self, network: Architecture) -> list[str]:
        """Return how this differs from the fingerprint of `network`, each as half a sentence."""
        if self.family != network.family:
            return [f"it is for the family '{self.family}', this MODEL is '{network.family}'"]
        found = []
        if self.level is not network.level:
            found.append(f"it names sites at level '{self.level.value}', asked for '{network.level.value}'")
        elif self.sites != network.sites:
            found.append(_difference(self.sites, network.sites))
        if self.blocks and self.blocks != network.blocks:
            found.append(f"it has {_counted(self.blocks)}, this MODEL {_counted(network.blocks)}")
        if None not in (self.hidden_size, network.hidden_size) and self.hidden_size != network.hidden_size:
            found.append(f"its width is {self.hidden_size}, this MODEL's {network.hidden_size}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The settings an artefact was made with; None or empty where its maker did not say.

    Attributes:
        num_steps: Number of steps T.
        sigmas: The schedule, noisiest first: T + 1 noise levels.
        sampler: Name of the sampler.
        scheduler: Name of the scheduler.
        cfg: Guidance scale.
        size: Width and height of the picture in pixels.
    """

    num_steps: int | None = None
    sigmas: tuple[float, ...] = ()
    sampler: str | None = None
    scheduler: str | None = None
    cfg: float | None = None
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        """Return what is known, such as `20 steps, euler, simple, cfg 4.0, 1024 x 1024`."""
        known = [
            None if self.num_steps is None else f"{self.num_steps} steps",
            self.sampler,
            self.scheduler,
            None if self.cfg is None else f"cfg {self.cfg:g}",
            None if self.size is None else f"{self.size[0]} x {self.size[1]}",
        ]
        return ", ".join(part for part in known if part) or "unknown settings"

    def faults(self) -> list[str]:
        """Return what cannot be, each as half a sentence."""
        found = []
        if self.num_steps is not None and not 1 <= self.num_steps <= MAX_STEPS:
            found.append(f"'num_steps' is {self.num_steps}, expected 1 to {MAX_STEPS}")
        if self.sigmas and len(self.sigmas) != (self.num_steps or 0) + 1:
            found.append(f"'sigmas' has {len(self.sigmas)} entries, expected one more than 'num_steps'")
        if any(not math.isfinite(s) or s < 0 for s in self.sigmas):
            found.append("'sigmas' holds a value that is no noise level")
        if any(now < later for now, later in zip(self.sigmas, self.sigmas[1:], strict=False)):
            found.append("'sigmas' does not fall")
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artefact:
    """The contents of an artefact file. The tensors are on the CPU; read them, never write them.

    Attributes:
        kind: What it is.
        method: Name of the method it was made for.
        architecture: The network it was made for.
        sampling: The settings it was made with.
        tensors: By name, see `layouts.LAYOUTS`.
        threshold: Of a router: a site is computed where sigmoid(score) is above it.
        name: Name of the file it was read from.
        made: How it was made: source, prompts, seed, iterations, loss.
        measured: What it measured: refresh ratio, error, speed.
    """

    kind: Kind
    method: str
    architecture: Architecture
    sampling: Sampling
    tensors: Mapping[str, Tensor]
    threshold: float | None = None
    name: str = "unnamed"
    made: Mapping[str, Scalar] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check everything.

        Raises:
            ArtefactError: With all faults at once.
        """
        sites = self.architecture.sites
        found = self.sampling.faults()
        if not 0 < len(sites) <= MAX_SITES or len(set(sites)) != len(sites):
            found.append(f"'sites' has {len(sites)} names, expected 1 to {MAX_SITES}, none twice")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            found.append(f"'threshold' is {self.threshold}, expected 0 to 1")
        names = {name.split(".")[0] for name in self.tensors}
        found += [f"tensor '{name}' is missing" for name in REQUIRED[self.kind] if name not in names]
        for name, tensor in self.tensors.items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            found += layout_faults(name, tuple(tensor.shape), dtype, self.sampling.num_steps, len(sites))
        if not found:
            found = [f"tensor '{name}' holds infinite or undefined values" for name in _unsound(self.tensors)]
        if found:
            raise ArtefactError(f"Not a valid artefact of kind '{self.kind.value}': {'; '.join(found)}.")

    def __str__(self) -> str:
        """Return the name it is known by."""
        return f"'{self.name}'"

    def describe(self) -> str:
        """Return in one line of what kind it is and what it was made for."""
        return f"kind '{self.kind.value}', method '{self.method}', for {purpose(self.architecture, self.sampling)}"

    @property
    def num_steps(self) -> int:
        """Number of steps T of a kind that has steps."""
        assert self.sampling.num_steps is not None
        return self.sampling.num_steps

    def sites_where(self, row: Tensor) -> frozenset[str]:
        """Return the names of the sites at which a row (S,) of bools is true."""
        return frozenset(
            site for site, chosen in zip(self.architecture.sites, row.tolist(), strict=True) if chosen
        )

    def require_fit(self, network: Architecture) -> None:
        """Check that the artefact was made for `network`.

        Raises:
            ArtefactError: With everything that does not fit.
        """
        found = self.architecture.misfits(network)
        if found:
            raise ArtefactError(
                f"The artefact '{self.name}' does not fit this MODEL: {'; '.join(found)}. It is of {self.describe()}. "
                "Choose a file that was made for this MODEL, or make one for it."
            )


def purpose(architecture: Architecture, sampling: Sampling) -> str:
    """Return what an artefact was made for, such as `flux (19 double blocks and 38 single blocks), 20 steps, euler`."""
    return f"{architecture.family} ({_counted(architecture.blocks)}), {sampling}"


def _unsound(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]


def _difference(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    foreign = [name for name in ours if name not in set(theirs)]
    missing = [name for name in theirs if name not in set(ours)]
    first = f", such as '{(foreign or missing)[0]}'" if foreign or missing else ", in another order"
    return f"it names {len(ours)} sites where this MODEL has {len(theirs)}{first}"


def _counted(blocks: tuple[tuple[str, int], ...]) -> str:
    return " and ".join(f"{count} {path.replace('_', ' ')}" for path, count in blocks) or "unknown blocks"

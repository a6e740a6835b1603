"""The settings that are timed, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Value = str | int | float


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One cache.

    Attributes:
        title: What the tables call it.
        method: Name of the method.
        settings: Of the method.
        in_host_memory: Whether the features are held there, and not where they are made.
        share: Of the calls that is computed, for a method with a threshold, which is found for it; None for all others.
    """

    title: str
    method: str
    settings: tuple[tuple[str, Value], ...] = ()
    in_host_memory: bool = False
    share: float | None = None

    @property
    def key(self) -> str:
        """What its records are kept under: all but the title."""
        return repr((self.method, self.settings, self.in_host_memory, self.share))

    def policy(self, core: Any, **found: Value) -> Any:
        """Return the method at its settings, and those that were `found` for this network."""
        method = core.POLICIES[self.method]
        return method(method.config_type(**dict(self.settings), **found))


def _step_list(speedup: float, level: str = "model") -> Preset:
    settings = (("speedup", speedup), ("level", level))
    return Preset(title=f"Step List, {speedup:g}x, {level}", method="step_list", settings=settings)


def _fora(interval: int, *, in_host_memory: bool = False) -> Preset:
    return Preset(
        title=f"FORA, {interval}, module{', in host memory' if in_host_memory else ''}",
        method="fora",
        settings=(("interval", interval), ("level", "module")),
        in_host_memory=in_host_memory,
    )


PRESETS = (
    _step_list(1.5),
    _step_list(2.0),
    _step_list(3.0),
    _step_list(2.0, "module"),
    _fora(2),
    _fora(3),
    _fora(2, in_host_memory=True),
    Preset(
        title="TeaCache, half of the calls",
        method="teacache",
        settings=(("coefficients", "identity"),),
        share=0.5,
    ),
)

"""A dynamic method for tests: TeaCache's rule without its polynomial, on any indicator, with the last value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def threshold_types(core: Any) -> tuple[type, type]:
    """Return two policies, looking back at the last call and at the last computed call.

    Args:
        core: `cache_core` as the code under test sees it; in the real host it has a name of its own.
    """

    @dataclass(frozen=True, kw_only=True)
    class ThresholdConfig(core.Config):  # type: ignore[misc,name-defined]
        """Reuses while the changes since the last computed call stay below the threshold."""

        threshold: float = core.setting(1.0, "The threshold.")
        level: str = core.setting("module", "The level.", choices=tuple(core.Level))
        indicator: str = core.setting("network_input", "The indicator.", choices=tuple(core.Indicator))

    class Threshold(core.Policy):  # type: ignore[misc,name-defined]
        name = title = source = "threshold"
        config_type = ThresholdConfig
        strictest = {"threshold": 0.0}  # noqa: RUF012

        @property
        def level(self) -> Any:
            return core.Level(self.config.level)

        @property
        def indicator(self) -> Any:
            return core.Indicator(self.config.indicator)

        def plan(self, call: Any, evidence: Any) -> Mapping[Any, Any]:
            change = evidence.observed
            for past in reversed(evidence.trace):
                if past.computed:
                    break
                change += past.value or 0.0
            reuse = change < self.config.threshold
            return dict.fromkeys(evidence.sites, core.Action.REUSE if reuse else core.Action.COMPUTE)

        def estimate(self, history: Any, target: Any) -> Any:
            return history[-1].value.clone()

    class FromComputed(Threshold):
        @property
        def compares_with(self) -> Any:
            return "last computed call"

    return Threshold, FromComputed

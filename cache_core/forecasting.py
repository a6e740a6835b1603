"""What methods that forecast have in common: the settings, and the forecast from snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .ops.forecasts import newton_forecast
from .ops.steps import unshifted
from .policy import Config, setting
from .types import Call, History, Run

REACH = 0.3
"""Share of noise beyond which a guided prediction is taken to have turned; chosen on the zoo at 10 and 20 steps."""
TRUST = {"measured": None, "full": 1.0, "half": 0.5}


def is_guided(run: Run) -> bool:
    """Return whether the two predictions of guidance are mixed in a run, or may be."""
    return run.cfg != 1.0


@dataclass(frozen=True, kw_only=True)
class ForecastConfig(Config):
    """Settings of a forecast."""

    order: int = setting(
        2,
        "How what is reused is moved on to the new noise level. 0 takes it as it is; 1 goes on in a straight line through the last "
        "two computed features, 2 in a parabola through three. Each order holds one more feature in memory.",
        minimum=0,
        maximum=2,
        advanced=True,
    )
    trust: Literal["auto", "measured", "full", "half"] = setting(
        "auto",
        "How much of the forecast change is added. 'measured' compares the last change with the one before, per picture: what keeps "
        "its direction is trusted. 'half' and 'full' add so much always and hold one feature less. 'auto' measures without guidance "
        "(cfg 1); with guidance it follows a straight line, trusted the less the more noise it spans.",
        choices=("auto", "measured", "full", "half"),
        advanced=True,
    )

    @property
    def memory(self) -> int:
        """Snapshots that a forecast looks at: one more than its order, and another to measure trust with."""
        if self.order == 0:
            return 1
        return self.order + (2 if self.trust in ("auto", "measured") else 1)

    def resolved(self, call: Call, known: Sequence[Call]) -> tuple[int, float | None]:
        """Return the order, and the trust or None where it is measured, for a forecast at `call`.

        With guidance the predictions turn: a straight line is trusted the less, the more noise lies between where it
        begins and where it is needed, and not at all beyond `REACH`.

        Args:
            call: Where the forecast is needed.
            known: The calls of the snapshots, oldest first.
        """
        if self.trust != "auto":
            return self.order, TRUST[self.trust]
        if not is_guided(call.run):
            return self.order, None
        span = unshifted(known[max(len(known) - 2, 0)].noise) - unshifted(call.noise)
        return min(self.order, 1), max(1 - span / REACH, 0.0)


def forecast(history: History, call: Call, settings: ForecastConfig) -> Tensor:
    """Return a new tensor that stands in for a feature at the noise level of `call`.

    Of snapshots of one noise level, such as Heun's second call and the next step's first, the newest counts.

    Args:
        history: Snapshots, oldest first; those beyond `settings.memory` are left alone.
        call: The call that needs it.
        settings: Order and trust.
    """
    newest = {snapshot.call.sigma: snapshot for snapshot in history[-settings.memory :]}
    ordered = sorted(newest.values(), key=lambda snapshot: snapshot.call.index)
    values, nodes = [s.value for s in ordered], [s.call.sigma for s in ordered]
    return newton_forecast(values, nodes, call.sigma, *settings.resolved(call, [s.call for s in ordered]))

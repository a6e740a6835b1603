"""What methods that forecast have in common: the settings, and the forecast from snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .ops.forecasts import newton_forecast
from .ops.steps import unshifted
from .policy import Config, setting
from .types import Call, History, Run, Target

REACH = 0.9
"""Share of noise after which what guidance adds is taken to have turned, at scale 2; chosen on the zoo at scales of 1.5 to 7."""
USUAL = 4.0
"""Scale where guidance is not known."""
TRUST = {"measured": None, "full": 1.0, "half": 0.5}


def is_guided(run: Run) -> bool:
    """Return whether the two predictions of guidance are mixed in a run, or may be."""
    return run.cfg != 1.0


def scale_of(cfg: float | None) -> float:
    """Return the scale of guidance as seen from the prediction that it leads away from, at least one half; 1 without guidance."""
    known = USUAL if cfg is None else cfg
    return max(known, 1 - known)


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
        "(cfg 1); with guidance it follows a straight line, trusted the less the more noise it spans and the stronger the guidance.",
        choices=("auto", "measured", "full", "half"),
        advanced=True,
    )

    @property
    def memory(self) -> int:
        """Snapshots that a forecast looks at: one more than its order, and another to measure trust with."""
        if self.order == 0:
            return 1
        return self.order + (2 if self.trust in ("auto", "measured") else 1)

    def resolved(self, target: Target, known: Sequence[Call]) -> tuple[int, float | None]:
        """Return the order, and the trust or None where it is measured, for a forecast at `target`.

        Args:
            target: Where the forecast is needed.
            known: The calls of the snapshots, oldest first.
        """
        run = target.call.run
        if self.trust != "auto":
            return self.order, TRUST[self.trust]
        if not is_guided(run):
            return self.order, None
        span = unshifted(known[max(len(known) - 2, 0)].noise) - unshifted(target.call.noise)
        return min(self.order, 1), guided_trust(span, run.cfg, target.role)


def guided_trust(span: float, cfg: float | None, role: int) -> float:
    """Return how far a straight line may be trusted beside guidance, from 0 to 1.

    With guidance s the network's predictions P and N make N + s (P - N). The difference turns: a straight line is trusted
    the less, the more noise lies between where it begins and where it is needed, and not at all beyond REACH / (s - 1).
    What is left, N, goes on as it went and is trusted fully. Both are met where N alone is trusted less than P. Below one
    half the same holds for 1 - s, with P and N in each other's place.

    Args:
        span: Share of noise, on an unshifted schedule, from where the line begins to where it is needed.
        cfg: The scale s, other than 1, or None where it is not known.
        role: 0 for P, 1 for N.
    """
    scale, leading = scale_of(cfg), 0 if cfg is None or cfg >= 0.5 else 1
    trust = max(1 - span * abs(scale - 1) / REACH, 0.0)
    if cfg is None or role == leading or scale == 1:
        return trust
    return min(max((scale * trust - 1) / (scale - 1), 0.0), 1.0)


def forecast(history: History, target: Target, settings: ForecastConfig) -> Tensor:
    """Return a new tensor that stands in for a feature at `target`.

    Of snapshots of one noise level, such as Heun's second call and the next step's first, the newest counts.

    Args:
        history: Snapshots, oldest first; those beyond `settings.memory` are left alone.
        target: The call and branch that need it.
        settings: Order and trust.
    """
    newest = {snapshot.call.sigma: snapshot for snapshot in history[-settings.memory :]}
    ordered = sorted(newest.values(), key=lambda snapshot: snapshot.call.index)
    values, nodes = [s.value for s in ordered], [s.call.sigma for s in ordered]
    resolved = settings.resolved(target, [snapshot.call for snapshot in ordered])
    return newton_forecast(values, nodes, target.call.sigma, *resolved)

"""Forecast: what any method reuses is moved on to the noise level of the call.

TaylorSeer (Liu et al. 2025, "From Reusing to Forecasting", ICCV 2025, arXiv:2503.06923, Shenyi-Z/TaylorSeer) takes for a
reused feature the Taylor polynomial through the computed ones before it. On top of any method, at any level: with FORA's
fixed interval and level `module` it is TaylorSeer; with a list of full steps and level `stack` DPCache's estimator; with a
threshold that of TeaCache's and SeaCache's ports that extrapolate the residual.

Two things differ from the paper. The variable is sigma and not the step's number, since steps are unevenly far apart; and
the change may be held back. Published remedies for forecasts that overshoot lower the trust by a constant (HiCache's sigma 0.5
is half trust at order 1) or by the distance of two forecasts (RACER). With D_m the newest divided difference of order m through the
computed features F_n at noise levels sigma_n, and w_m its trust, what stands in at sigma is

    F = F_n + w_1 * D_1 * (sigma - sigma_n) + w_2 * D_2 * (sigma - sigma_n) * (sigma - sigma_(n-1))

`measured` trust is, order by order and per picture, the root of the newest divided difference's projection on the one before it:
near 1 where features move evenly, as they do without guidance. With guidance s predictions turn, and `auto` takes order 1 and,
with u the noise as in Step List, at the older of the two features and here,

    w_1 = max(0, 1 - |s - 1| * (u_(n-1) - u) / 0.9)

for the prompt. The negative prompt has (s * w_1 - 1) / (s - 1), within 0 and 1: what guidance adds is then held back by w_1, and
the unguided prediction not at all.

A method that forecasts by itself needs this no second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor

from ..forecasting import ForecastConfig, forecast
from ..overlay import CORRECTIONS, Overlay
from ..types import History, Target


@CORRECTIONS.register
class Forecast(Overlay):
    """The change that Newton's polynomial expects, added to what is reused."""

    name = "forecast"
    title = "Forecast"
    source = "arXiv:2503.06923, github.com/Shenyi-Z/TaylorSeer"
    config_type = ForecastConfig
    strictest: ClassVar[Mapping[str, Any]] = {"order": 0}

    @property
    def memory(self) -> int:
        """As many snapshots as the forecast or the inner policy looks at."""
        return max(self.inner.memory, self._settings.memory)

    def estimate(self, history: History, target: Target) -> Tensor:
        """Return the inner policy's stand-in, moved on by what the forecast differs from the newest snapshot."""
        reused = super().estimate(history, target)
        if self._settings.order == 0 or len(history) == 1:
            return reused
        return reused + (forecast(history, target, self._settings) - history[-1].value)

    @property
    def _settings(self) -> ForecastConfig:
        return cast(ForecastConfig, self.config)

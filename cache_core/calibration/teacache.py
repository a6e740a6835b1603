"""TeaCache's polynomial for a model that has none: least squares on what uncached runs showed.

A pair (d, change) is the relative L1 distance of the indicator between two consecutive calls, and that of the network's
output between the same two, of the branch that decides (arXiv:2411.19108, section 3.3; its authors in issue 18 of
ali-vilab/TeaCache). The pairs of all prompts, seeds and steps are pooled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from ..artefact import Artefact, Kind
from ..chart import Graph, Series
from ..ops.accumulation import num_computed
from ..ops.fitting import Fit, Pair, fit, verdict
from ..ops.indicators import relative_l1
from ..ops.polynomials import evaluate, evaluate_within
from ..policy import Config, setting
from ..probe import CALIBRATIONS, Calibration, Findings, Sample, Subject
from ..types import Call, Indicator, Level

CURVE_POINTS = 101
SHARES = (0.75, 0.5, 1 / 3)
"""Shares of computed calls for which a threshold is suggested."""


@dataclass(frozen=True, kw_only=True)
class TeaCacheFitConfig(Config):
    """Settings of the calibration."""

    order: int = setting(
        4,
        "Order of the polynomial. 4 as published; lower where the fit is not monotone.",
        minimum=1,
        maximum=6,
    )


@CALIBRATIONS.register
class TeaCacheFit(Calibration):
    """Pairs of changes, from the branch that decides."""

    name: ClassVar[str] = "teacache"
    title: ClassVar[str] = "TeaCache's polynomial"
    config_type = TeaCacheFitConfig

    def __init__(self, config: Config) -> None:
        """Start without pairs."""
        super().__init__(config)
        self.runs: list[list[Pair]] = []
        self._change: Tensor | None = None
        self._indicator: list[float] = []
        self._output: list[Tensor] = []

    @property
    def level(self) -> Level:
        """Level of the method."""
        return Level.STACK

    @property
    def indicator(self) -> Indicator | None:
        """The first block's modulated input."""
        return Indicator.MODULATED_INPUT

    @property
    def sees_output(self) -> bool:
        """Its change is what the polynomial estimates."""
        return True

    def see(self, sample: Sample) -> None:
        """Measure the change of the output of a call's first branch."""
        if sample.is_output and sample.previous is not None and self._change is None:
            self._change = relative_l1(sample.feature[0], sample.previous[0])

    def close_call(self, call: Call, observed: float | None) -> None:
        """Pair both changes of the call."""
        if observed is not None and self._change is not None:
            self._indicator.append(observed)
            self._output.append(self._change)
        self._change = None

    def close_run(self) -> None:
        """Read the run's changes from the device."""
        output = torch.stack(self._output).tolist() if self._output else []
        self.runs.append(list(zip(self._indicator, output, strict=True)))
        self._indicator, self._output = [], []

    def findings(self, subject: Subject) -> Findings:
        """Return the polynomial, what it was fitted to, and thresholds to begin with.

        Raises:
            CacheError: If there are not enough different changes.
        """
        fitted = fit([pair for run in self.runs for pair in run], cast(TeaCacheFitConfig, self.config).order)
        artefact = Artefact(
            kind=Kind.COEFFICIENTS,
            method="teacache",
            architecture=subject.architecture,
            sampling=subject.sampling,
            made=subject.made,
            measured=_measured(fitted),
            tensors={
                "coefficients": torch.tensor(fitted.coefficients, dtype=torch.float64),
                "coefficients.pairs": torch.tensor(fitted.pairs, dtype=torch.float64),
            },
        )
        return Findings(artefact=artefact, charts=(graph(fitted),), text="\n".join(self._facts(fitted)))

    def _facts(self, fitted: Fit) -> list[str]:
        return [
            f"{len(fitted.pairs)} pairs, change of the indicator from {fitted.low:.4g} to {fitted.high:.4g}",
            f"correlation with the output's change {fitted.correlation:.3f}; of the indicator alone {fitted.raw_correlation:.3f}",
            verdict(fitted),
            f"coefficients, highest power first: {', '.join(f'{c:.6g}' for c in fitted.coefficients)}",
            *(
                f"threshold {value:.3g} would have computed {share:.0%} of the calls"
                for value, share in self._thresholds(fitted)
            ),
        ]

    def _thresholds(self, fitted: Fit) -> Iterator[tuple[float, float]]:
        """Yield thresholds, and the share of these runs' calls that each would have computed: the first below each share."""
        runs = [[_rescaled(fitted, change) for change, _ in run] for run in self.runs]
        num_calls = sum(len(run) + 1 for run in runs)
        mean = sum(map(sum, runs)) / num_calls
        thresholds = [float(f"{mean * i / 10:.3g}") for i in range(200)]
        shares = {t: sum(num_computed(run, t) for run in runs) / num_calls for t in thresholds}
        for limit in SHARES:
            yield next(((t, share) for t, share in shares.items() if share <= limit), [*shares.items()][-1])


def graph(fitted: Fit) -> Graph:
    """Return the pairs and the polynomial through them."""
    step = (fitted.high - fitted.low) / (CURVE_POINTS - 1)
    x = [fitted.low + i * step for i in range(CURVE_POINTS)]
    curve = [evaluate(fitted.coefficients, value) for value in x]
    return Graph(
        title=f"TeaCache's polynomial, correlation {fitted.correlation:.3f}",
        x_label="change of the modulated input",
        y_label="change of the output",
        series=(
            Series(name="calls", x=[a for a, _ in fitted.pairs], y=[b for _, b in fitted.pairs]),
            Series(name="polynomial", x=x, y=curve, is_line=True),
            Series(name="identity", x=(fitted.low, fitted.high), y=(fitted.low, fitted.high), is_line=True),
        ),
    )


def _rescaled(fitted: Fit, change: float) -> float:
    return abs(evaluate_within(fitted.coefficients, change, fitted.low, fitted.high))


def _measured(fitted: Fit) -> dict[str, float]:
    return {
        "low": fitted.low,
        "high": fitted.high,
        "correlation": fitted.correlation,
        "raw_correlation": fitted.raw_correlation,
        "error": fitted.error,
        "monotone": float(fitted.is_monotone),
        "positive": float(fitted.is_positive),
    }

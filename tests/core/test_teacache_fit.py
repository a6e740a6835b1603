"""TeaCache's polynomial, fitted to pairs of changes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

import cache_core
from cache_core.calibration.teacache import TeaCacheFit, TeaCacheFitConfig
from cache_core.ops.accumulation import num_computed
from cache_core.ops.fitting import Pair, fit, verdict
from cache_core.ops.polynomials import evaluate
from cache_core.probe import CALIBRATIONS, Findings, Recording, Subject

NETWORK = cache_core.Architecture(
    family="toy", level=cache_core.Level.STACK, sites=("blocks.0.residual",), hidden_size=8
)
TRUE = (3.0, -2.0, 1.5, 0.5, 0.02)


def _pairs(noise: float = 0.0, num: int = 200) -> list[Pair]:
    generator = np.random.default_rng(0)
    x = generator.uniform(0.05, 0.6, num)
    return list(
        zip(x.tolist(), (np.polyval(TRUE, x) + noise * generator.normal(size=num)).tolist(), strict=True)
    )


def test_a_known_polynomial_is_found() -> None:
    found = fit(_pairs())
    assert found.coefficients == pytest.approx(TRUE, rel=1e-6)
    assert found.error == pytest.approx(0.0, abs=1e-9)
    assert (found.is_monotone, found.is_positive) == (True, True)
    assert found.correlation == pytest.approx(1.0)


def test_fit_is_that_of_numpys_polyfit() -> None:
    """The paper's own tool."""
    pairs = _pairs(noise=0.05)
    x, y = np.array(pairs).T
    assert fit(pairs).coefficients == pytest.approx(np.polyfit(x, y, 4).tolist(), rel=1e-5)


def test_range_and_correlations_are_those_of_the_pairs() -> None:
    found = fit([(0.1, 0.4), (0.2, 0.1), (0.3, 0.4), (0.4, 0.9)], order=2)
    assert (found.low, found.high) == (0.1, 0.4)
    assert found.raw_correlation == pytest.approx(
        np.corrcoef([0.1, 0.2, 0.3, 0.4], [0.4, 0.1, 0.4, 0.9])[0, 1]
    )
    assert found.correlation > found.raw_correlation


def test_error_is_the_root_mean_square() -> None:
    """A line through (0, 0), (1, 3), (2, 0) is the constant 1; it misses by 1, 2 and 1."""
    found = fit([(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)], order=1)
    assert found.coefficients == pytest.approx((0.0, 1.0), abs=1e-12)
    assert found.error == pytest.approx(np.sqrt(2))
    assert found.correlation == pytest.approx(0.0, abs=1e-6)


def test_a_dip_and_a_negative_stretch_are_seen() -> None:
    """(x - 1)^2 - 1/2 on [0, 2] falls, and is below 0 in the middle."""
    found = fit([(x, (x - 1) ** 2 - 0.5) for x in np.linspace(0, 2, 9)], order=2)
    assert (found.is_monotone, found.is_positive) == (False, False)
    assert "falls" in verdict(found) and "not positive" in verdict(found)


def test_a_fit_that_tells_no_more_than_the_change_is_called_so() -> None:
    line = fit([(x, 2 * x) for x in (0.1, 0.2, 0.3, 0.4, 0.5)])
    assert "'identity' would do" in verdict(line)
    # Falling where the change rises: the correlation of d alone is negative.
    assert "identity" not in verdict(fit([(x, 1 / x) for x in (0.1, 0.2, 0.3, 0.4, 0.5)]))


def test_too_few_different_changes_are_refused_with_what_to_do() -> None:
    with pytest.raises(
        cache_core.CacheError, match=r"6 pairs with 2 different .* at least 5.*more steps, seeds or prompts"
    ):
        fit([(0.1, 0.2), (0.3, 0.4)] * 3)
    with pytest.raises(cache_core.CacheError, match="0 pairs"):
        fit([])


def test_changes_that_are_not_finite_are_refused() -> None:
    with pytest.raises(cache_core.CacheError, match="all finite"):
        fit([*_pairs(num=9), (float("nan"), 1.0)])


class OnTheToy(TeaCacheFit):
    """On the toy, whose indicator is its input x; two blocks make 9 x of it, so both changes are equal."""

    indicator = cache_core.Indicator.NETWORK_INPUT  # type: ignore[assignment]


RUNS = ((8, 9, 10, 12, 13, 15), (8, 10, 11, 14, 15, 19))


def _probed(order: int = 1, runs: tuple[tuple[int, ...], ...] = RUNS) -> TeaCacheFit:
    """Return the probe after runs in which a second branch changes wildly."""
    probe = OnTheToy(TeaCacheFitConfig(order=order))
    for values in runs:
        run = cache_core.Run(sigmas=tuple(1 - i / 6 for i in range(7)), call_steps=tuple(range(6)))
        session = cache_core.CacheSession(Recording(probe), run, torch.device("cpu"), probe=probe)
        for index, value in enumerate(values):
            x = torch.tensor([[float(value)], [2.0 ** (index * value)]])
            toy.call(session, toy.ToyDiT(), x, [toy.lane("cond"), toy.lane("uncond")])
        session.close(seconds=1.0)
        probe.close_run()
    return probe


def _findings(probe: TeaCacheFit) -> Findings:
    sampling = cache_core.Sampling(num_steps=6)
    return probe.findings(Subject(architecture=NETWORK, sampling=sampling, made={"num_runs": 2}))


def test_it_is_among_the_calibrations() -> None:
    assert CALIBRATIONS["teacache"] is TeaCacheFit
    probe = TeaCacheFit(TeaCacheFitConfig())
    assert (probe.level, probe.indicator) == (cache_core.Level.STACK, cache_core.Indicator.MODULATED_INPUT)


def test_pairs_are_of_the_first_branch_and_of_consecutive_calls() -> None:
    expected = [(b - a) / a for a, b in zip(RUNS[0], RUNS[0][1:], strict=False)]
    first = _probed().runs[0]
    assert [pair[0] for pair in first] == pytest.approx(expected)
    assert [pair[1] for pair in first] == pytest.approx(expected)


def test_findings_pool_the_runs() -> None:
    found = _findings(_probed())
    assert found.artefact.tensors["coefficients"].tolist() == pytest.approx([1.0, 0.0], abs=1e-5)
    assert tuple(found.artefact.tensors["coefficients.pairs"].shape) == (10, 2)
    assert found.artefact.measured["high"] == pytest.approx(3 / 11)
    assert found.artefact.made == {"num_runs": 2}
    (chart,) = found.charts
    assert [len(series.x) for series in chart.series] == [10, 101, 2]  # type: ignore[union-attr]
    assert "correlation" in found.text and "'identity' would do" in found.text


def test_suggested_thresholds_compute_what_they_say() -> None:
    probe = _probed()
    suggestions = re.findall(r"threshold ([\d.e-]+) would have computed (\d+)%", _findings(probe).text)
    assert [int(percent) <= limit for (_, percent), limit in zip(suggestions, (75, 50, 33), strict=True)] == [
        True
    ] * 3
    for threshold, percent in suggestions:
        counts = [num_computed([change for change, _ in run], float(threshold)) for run in probe.runs]
        assert round(100 * sum(counts) / 12) == int(percent)


def test_runs_of_one_call_do_not_suffice() -> None:
    with pytest.raises(cache_core.CacheError, match="0 pairs"):
        _findings(_probed(runs=((8,),)))


def test_computed_calls_are_counted_as_the_schedule_decides() -> None:
    """Sums 1, 2 (computed), 1, 3 (computed), 1 (the last)."""
    assert num_computed([1, 1, 1, 2, 1], 2.0) == 4
    assert num_computed([1, 1, 1, 2, 1], 100.0) == 2
    assert num_computed([], 1.0) == 1


def test_the_artefact_survives_the_disk_and_drives_the_policy(tmp_path: Path) -> None:
    cache_core.write_artefact(_findings(_probed(order=2)).artefact, tmp_path / "fit.safetensors")
    read = cache_core.read_artefact(tmp_path / "fit.safetensors")
    teacache = cache_core.POLICIES["teacache"]
    policy = teacache(teacache.config_type(threshold=0.2, fitted=read))
    coefficients, high = read.tensors["coefficients"].tolist(), read.measured["high"]
    assert policy.rescale(0.2) == pytest.approx(abs(evaluate(coefficients, 0.2)))  # type: ignore[attr-defined]
    assert policy.rescale(2 * high) == pytest.approx(2 * abs(evaluate(coefficients, high)))  # type: ignore[attr-defined]
    assert policy.describe() == "threshold=0.2, coefficients='fit.safetensors'"

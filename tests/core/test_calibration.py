"""Calibration on the toy, whose features are multiples of its input: what a probe sees, and the change profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import toy
from torch import Tensor

from cache_core import (
    CALIBRATIONS,
    CacheError,
    CacheSession,
    Call,
    Config,
    Findings,
    HeatMap,
    Indicator,
    Kind,
    Level,
    Probe,
    Recording,
    Run,
    Sample,
    Sampling,
    Subject,
    fingerprint,
)

COND, UNCOND = toy.lane("cond"), toy.lane("uncond")


class Witness(Probe):
    """Writes down what it is shown, as plain numbers."""

    name = title = "witness"
    config_type = Config

    def __init__(self, level: Level = Level.BLOCK, memory: int = 1, **shown: Any) -> None:
        super().__init__(Config())
        self._level, self._memory, self._shown = level, memory, shown
        self.samples: list[tuple[int, str, str, float, list[float]]] = []
        self.observed: list[float | None] = []

    @property
    def level(self) -> Level:
        return self._level

    @property
    def memory(self) -> int:
        return self._memory

    @property
    def indicator(self) -> Indicator | None:
        return self._shown.get("indicator")

    @property
    def sees_output(self) -> bool:
        return bool(self._shown.get("sees_output"))

    def see(self, sample: Sample) -> None:
        before = [snapshot.value.item() for history in sample.histories for snapshot in history]
        site = "output" if sample.is_output else str(sample.site)
        self.samples.append(
            (sample.call.index, str(sample.lane.branch), site, sample.feature[0].item(), before)
        )

    def close_call(self, call: Call, observed: float | None) -> None:
        self.observed.append(observed)

    def findings(self, subject: Subject) -> Findings:
        raise AssertionError


def _at(*values: float) -> Tensor:
    return torch.tensor([[value] for value in values])


def _open(probe: Probe, steps: int, **changes: Any) -> CacheSession:
    sigmas = tuple(1 - i / steps for i in range(steps + 1))
    run = Run(sigmas=sigmas, sampler="toy", **({"call_steps": tuple(range(steps))} | changes))
    return CacheSession(Recording(probe), run, torch.device("cpu"), probe=probe)


def _record(probe: Probe, inputs: Sequence[float], num_blocks: int = 1, **changes: Any) -> Any:
    """Make one call per input, and close the run; return its report."""
    network, session = toy.ToyDiT(num_blocks), _open(probe, changes.pop("steps", len(inputs)), **changes)
    for value in inputs:
        toy.call(session, network, _at(value), [COND])
    report = session.close(seconds=1.0)
    probe.close_run()
    return report


def test_every_feature_is_seen_with_what_the_lane_made_before() -> None:
    probe = Witness()
    _record(probe, [1, 5], num_blocks=2)
    assert probe.samples == [
        (0, "cond", "blocks.0.mlp", 2.0, []),
        (0, "cond", "blocks.1.mlp", 6.0, []),
        (1, "cond", "blocks.0.mlp", 10.0, [2.0]),
        (1, "cond", "blocks.1.mlp", 30.0, [6.0]),
    ]


def test_histories_are_as_long_as_the_probe_asks() -> None:
    probe = Witness(memory=2)
    _record(probe, [1, 2, 3, 4])
    assert [before for *_, before in probe.samples] == [[], [2.0], [2.0, 4.0], [4.0, 6.0]]


def test_branches_of_a_batch_are_seen_one_by_one() -> None:
    probe = Witness()
    session, network = _open(probe, 2), toy.ToyDiT(1)
    for values in ((1, 10), (2, 20)):
        toy.call(session, network, _at(*values), [COND, UNCOND])
    assert probe.samples[2:] == [
        (1, "cond", "blocks.0.mlp", 4.0, [2.0]),
        (1, "uncond", "blocks.0.mlp", 40.0, [20.0]),
    ]


@pytest.mark.parametrize("level", [Level.BLOCK, Level.MODEL])
def test_the_output_is_seen_once_and_after_the_sites(level: Level) -> None:
    probe = Witness(level=level, sees_output=True)
    _record(probe, [1, 2])
    outputs = [sample for sample in probe.samples if sample[2] == "output"]
    assert outputs == [(0, "cond", "output", 3.0, []), (1, "cond", "output", 6.0, [3.0])]
    assert [sample[2] for sample in probe.samples][-1] == "output"


def test_the_output_is_not_seen_unasked() -> None:
    probe = Witness()
    _record(probe, [1, 2])
    assert {sample[2] for sample in probe.samples} == {"blocks.0.mlp"}


def test_the_indicator_is_observed_in_every_call() -> None:
    probe = Witness(indicator=Indicator.NETWORK_INPUT)
    _record(probe, [8, 10, 10])
    assert probe.observed == [None, pytest.approx(0.25), 0.0]


def test_a_recording_run_changes_nothing_and_computes_everything() -> None:
    probe, network = Witness(sees_output=True, indicator=Indicator.NETWORK_INPUT), toy.ToyDiT()
    session = _open(probe, 3)
    outputs = [toy.call(session, network, _at(value), [COND]).item() for value in (1, 1, 2)]
    report = session.close(seconds=1.0)
    assert outputs == [9.0, 9.0, 18.0]
    assert (report.num_reused, report.end_bytes) == (0, 0)
    assert report.method == "Calibration of witness"


def test_lanes_that_cannot_be_told_apart_are_not_seen_again() -> None:
    probe = Witness()
    session, network = _open(probe, 2), toy.ToyDiT(1)
    for _ in range(2):
        toy.call(session, network, _at(1, 2), [COND, COND])
    assert probe.samples == []


def _profile_probe(delta: float = 0.5) -> Probe:
    probe = CALIBRATIONS["block_caching"]
    return probe(probe.config_type(delta=delta))


def _subject(steps: int, num_blocks: int = 1) -> Subject:
    architecture = fingerprint(_Adapter(toy.ToyDiT(num_blocks)), Level.BLOCK)
    sigmas = tuple(1 - i / steps for i in range(steps + 1))
    return Subject(
        architecture=architecture, sampling=Sampling(num_steps=steps, sigmas=sigmas), made={"num_runs": 1}
    )


class _Adapter(toy.ToyAdapter):
    """The toy with a width, which a fingerprint has."""

    width = 1


def _profile(probe: Probe, steps: int, num_blocks: int = 1) -> list[list[float]]:
    found: list[list[float]] = (
        probe.findings(_subject(steps, num_blocks)).artefact.tensors["profile"].tolist()
    )
    return found


def test_profile_is_the_change_from_step_to_step() -> None:
    """Inputs 8, 10, 5: |10 - 8| / 10 and |5 - 10| / 5, at every block."""
    probe = _profile_probe()
    _record(probe, [8, 10, 5], num_blocks=2)
    assert _profile(probe, 3, 2) == [[0.0, 0.0], [pytest.approx(0.2)] * 2, [1.0, 1.0]]


def test_profile_is_the_mean_over_runs_and_branches() -> None:
    """Changes 1/2, then 0 in another run: mean 1/4; and two branches with 1/2 and 0."""
    runs = _profile_probe()
    _record(runs, [1, 2])
    _record(runs, [1, 1])
    assert _profile(runs, 2) == [[0.0], [0.25]]
    branches = _profile_probe()
    session, network = _open(branches, 2), toy.ToyDiT(1)
    for values in ((1, 1), (2, 1)):
        toy.call(session, network, _at(*values), [COND, UNCOND])
    branches.close_run()
    assert _profile(branches, 2) == [[0.0], [0.25]]


def test_profile_of_a_batch_is_the_mean_over_pictures() -> None:
    probe, network = _profile_probe(), toy.ToyDiT(1)
    session = _open(probe, 2)
    for values in ((1, 100), (2, 100)):
        toy.call(session, network, _at(*values), [toy.lane(shape=(2, 1))])
    probe.close_run()
    assert _profile(probe, 2) == [[0.0], [0.25]]


def test_a_step_with_several_calls_has_the_changes_of_all() -> None:
    """Heun on two steps: calls 1, 2 in step 0, then 4, 4 in step 1, whose changes are 1/2 and 0."""
    probe = _profile_probe()
    _record(probe, [1, 2, 4, 4], steps=2, call_steps=(0, 0, 1, 1))
    assert _profile(probe, 2) == [[0.0], [0.5]]


def test_a_run_that_was_interrupted_does_not_count() -> None:
    """`close_run` reads what was gathered; a probe that was not closed has nothing to show."""
    probe = _profile_probe()
    session = _open(probe, 2)
    toy.call(session, toy.ToyDiT(1), _at(1), [COND])
    with pytest.raises(CacheError, match=r"saw no change of 'blocks.0.mlp' in step 1.*Use plain prompts"):
        probe.findings(_subject(2))


def test_findings_predict_the_refresh_ratio_and_offer_deltas() -> None:
    """Changes .5, 0, 1: at delta 0.5 steps 0 and 3 are computed; one quarter at 0+, a half at 0.5, 3/4 at 1.5."""
    probe = _profile_probe(delta=0.5)
    _record(probe, [1, 2, 2, 1])
    found = probe.findings(_subject(4))
    assert found.artefact.kind is Kind.PROFILE
    assert "delta 0.5 computes 50.0% of all block evaluations (refresh ratio 0.500)" in found.text
    deltas = found.artefact.measured
    assert deltas == {
        "delta_at_reuse_0.25": pytest.approx(0.0, abs=1e-6),
        "delta_at_reuse_0.5": pytest.approx(0.5, rel=1e-6),
        "delta_at_reuse_0.75": pytest.approx(1.5, rel=1e-6),
    }
    (chart,) = found.charts
    assert isinstance(chart, HeatMap)
    assert chart.values.tolist() == [[0.0, 0.5, 0.0, 1.0]]
    assert chart.marks is not None
    assert chart.marks.tolist() == [[True, False, False, True]]


def test_shares_of_reuse_that_no_delta_gives_are_left_out() -> None:
    probe = _profile_probe()
    _record(probe, [1, 2])
    assert set(probe.findings(_subject(2)).artefact.measured) == {"delta_at_reuse_0.25", "delta_at_reuse_0.5"}


def test_features_that_are_not_finite_are_refused() -> None:
    probe = _profile_probe()
    _record(probe, [1, float("nan")])
    with pytest.raises(CacheError, match="The calibration met features that are infinite or undefined"):
        probe.findings(_subject(2))

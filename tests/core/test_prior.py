"""The prior's calibration on the toy, whose features are multiples of its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import toy
from torch import Tensor

from cache_core import (
    CALIBRATIONS,
    CORRECTIONS,
    CacheError,
    CacheSession,
    Findings,
    HeatMap,
    Kind,
    Level,
    Probe,
    Recording,
    Run,
    Sampling,
    Subject,
    fingerprint,
)

COND, UNCOND = toy.lane("cond"), toy.lane("uncond", role=1)
SITE = "prior.blocks.0.mlp.0.0"


class _Adapter(toy.ToyAdapter):
    """The toy with a width, which a fingerprint has."""

    width = 1


def _probe(**settings: Any) -> Probe:
    probe = CALIBRATIONS["prior"]
    return probe(probe.config_type(**settings))


def _record(
    probe: Probe, inputs: Sequence[Any], steps: Sequence[int] | None = None, network: Any = None
) -> None:
    """Make one call per input, a number or a tensor (B, N, D), and close the run."""
    steps = steps or range(len(inputs))
    num_steps = max(steps) + 1
    run = Run(sigmas=tuple(1 - i / num_steps for i in range(num_steps + 1)), call_steps=tuple(steps))
    session, network = (
        CacheSession(Recording(probe), run, torch.device("cpu"), probe=probe),
        (network or toy.ToyDiT(1)),
    )
    for given in inputs:
        x = given if isinstance(given, Tensor) else torch.full((1, 1, 1), float(given))
        toy.call(session, network, x, [toy.lane(shape=tuple(x.shape))])
    session.close(seconds=1.0)
    probe.close_run()


def _findings(probe: Probe, num_steps: int, num_blocks: int = 1) -> Findings:
    sampling = Sampling(num_steps=num_steps, sigmas=tuple(1 - i / num_steps for i in range(num_steps + 1)))
    architecture = fingerprint(_Adapter(toy.ToyDiT(num_blocks)), probe.level)
    return probe.findings(Subject(architecture=architecture, sampling=sampling, made={"num_runs": 1}))


def _differences(probe: Probe, num_steps: int, name: str = SITE) -> list[Any]:
    return _findings(probe, num_steps).artefact.tensors[name].squeeze().tolist()


def test_differences_are_those_from_step_to_step() -> None:
    """Features 2, 4, 10: they grow by 2, then by 6, which is 2/4 and 6/10 of what they are."""
    probe = _probe()
    _record(probe, [1, 2, 5])
    artefact = _findings(probe, 3).artefact
    assert (artefact.kind, artefact.method) == (Kind.PRIOR, "error_optimized")
    assert artefact.tensors[SITE].shape == (3, 1, 1)
    assert artefact.tensors[SITE].dtype is torch.bfloat16
    assert artefact.tensors[SITE].flatten().tolist() == [0, 2, 6]
    assert artefact.tensors["profile"].flatten().tolist() == pytest.approx([0, 0.5, 0.6])


def test_differences_are_the_mean_over_runs_and_pictures() -> None:
    """Differences 2 and 6 in two runs; 2 and 6 in the pictures of one."""
    runs, pictures = _probe(), _probe()
    _record(runs, [1, 2])
    _record(runs, [1, 4])
    _record(pictures, [torch.ones(2, 1, 1), torch.tensor([2.0, 4.0]).reshape(2, 1, 1)])
    assert _differences(runs, 2) == _differences(pictures, 2) == [0, 4]


def test_branches_with_and_without_the_prompt_have_their_own() -> None:
    """Differences 2 and 6; two branches with the prompt, as areas are, share one: the mean of 2 and 4."""
    for lanes, expected in (
        ([COND, UNCOND], {"0": 2.0, "1": 6.0}),
        ([COND, toy.lane("area")], {"0": 4.0}),
    ):
        probe = _probe()
        run = Run(sigmas=(1.0, 0.5, 0.0), call_steps=(0, 1))
        session, network = (
            CacheSession(Recording(probe), run, torch.device("cpu"), probe=probe),
            toy.ToyDiT(1),
        )
        for pair in ([1.0, 1.0], [2.0, 4.0]):
            toy.call(session, network, torch.tensor(pair).reshape(2, 1, 1), lanes)
        probe.close_run()
        tensors = _findings(probe, 2).artefact.tensors
        found = {name[-1]: float(tensor[1]) for name, tensor in tensors.items() if name != "profile"}
        assert found == expected


def test_a_step_with_several_calls_has_the_differences_of_all() -> None:
    """Heun's second call of step 0 differs from the first, but row 0 is never asked for; step 1 has 4 - 2 and 8 - 4."""
    probe = _probe()
    _record(probe, [1, 1, 2, 4], steps=[0, 0, 1, 1])
    assert _differences(probe, 2) == [0, 6]


def test_a_budget_averages_tokens_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 steps of 4 tokens are 16 bytes; 8 bytes are two groups."""
    monkeypatch.setattr("cache_core.calibration.prior.MEGABYTE", 8)
    probe = _probe(budget_mb=1)
    _record(probe, [torch.zeros(1, 4, 1), torch.tensor([1.0, 3.0, 5.0, 9.0]).reshape(1, 4, 1)])
    found = _findings(probe, 2)
    assert found.artefact.tensors[SITE][1].flatten().tolist() == [4.0, 14.0]
    assert found.artefact.made["num_groups"] == 2
    assert found.text.startswith("1.0 of at most 1 MB: 2 groups of the up to 4 tokens of a feature")


class _Constant(torch.nn.Module):
    """Makes the same whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


def test_sites_that_change_least_are_left_out_where_nothing_else_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two sites of 4 bytes each, of which the budget holds one; the first never changes."""
    monkeypatch.setattr("cache_core.calibration.prior.MEGABYTE", 4)
    probe, network = _probe(budget_mb=1), toy.ToyDiT(2)
    network.blocks[0].mlp = _Constant()
    _record(probe, [1, 2], network=network)
    found = _findings(probe, 2, num_blocks=2)
    assert set(found.artefact.tensors) == {"profile", "prior.blocks.1.mlp.0.0"}
    assert found.artefact.made["num_left_out"] == 1
    assert "left out for the budget: blocks.0.mlp" in found.text


def test_steps_at_which_features_turn_back_are_told() -> None:
    """Features 2, 4, 8, 6, 4: up, up, down, down; they turn back in step 3."""
    probe = _probe()
    _record(probe, [1, 2, 4, 3, 2])
    found = _findings(probe, 5)
    assert "features turn back in steps: 3" in found.text
    (chart,) = found.charts
    assert isinstance(chart, HeatMap) and chart.marks is not None
    assert chart.marks.tolist() == [[False, False, False, True, False]]


@pytest.mark.parametrize(("second", "share"), [(4.0, 1.0), (-2.0, 0.0), (1.0, 0.5)])
def test_how_much_the_mean_holds_is_told(second: float, share: float) -> None:
    """Differences 6 and 6 are all common, 6 and -6 not at all, 6 and 0 by half: 3 squared of the mean of 36 and 0."""
    probe = _probe()
    for last in (4.0, second):
        _record(probe, [1, last])
    found = _findings(probe, 2)
    assert found.artefact.measured["explained"] == pytest.approx(share)
    assert f"the mean holds {share:.0%} of the squared differences" in found.text


def test_the_prior_corrects_the_reuse_of_its_own_run_exactly() -> None:
    inputs = [1.0, 2.0, 4.0, 5.0]
    probe = _probe()
    _record(probe, inputs)
    correction = CORRECTIONS["error_optimized"]
    config = correction.config_type(prior=_findings(probe, 4).artefact)
    session = toy.open_session(correction(toy.fora(interval=4, anchor="start"), config), 4)
    network = toy.ToyDiT(1)
    outputs = [toy.call(session, network, torch.full((1, 1, 1), x), [COND]).item() for x in inputs]
    assert outputs == [3 * x for x in inputs]
    assert network.num_runs == 1


@pytest.mark.parametrize("level", ["module", "model"])
def test_the_level_is_that_of_the_cache(level: str) -> None:
    assert _probe(level=level).level is Level(level)


def test_features_that_are_not_finite_are_refused() -> None:
    probe = _probe()
    _record(probe, [1, float("nan")])
    with pytest.raises(CacheError, match="infinite or undefined"):
        _findings(probe, 2)


def test_a_step_that_was_not_seen_is_refused() -> None:
    probe = _probe()
    _record(probe, [1, 2])
    with pytest.raises(CacheError, match=r"saw no difference of 'blocks.0.mlp' in step 2.*Use plain prompts"):
        _findings(probe, 3)

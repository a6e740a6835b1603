"""Block Caching: the schedule of the profile, its adjustment, and what it refuses."""

from __future__ import annotations

from typing import Any

import published
import pytest
import torch
from torch import Tensor

from cache_core import (
    POLICIES,
    Action,
    Architecture,
    Artefact,
    ArtefactError,
    Call,
    ConfigError,
    Evidence,
    Kind,
    Level,
    Policy,
    Run,
    Sampling,
    Site,
    Snapshot,
    Target,
    predict_refresh_ratio,
)

SITES = tuple(Site(level=Level.BLOCK, path="blocks", index=i, part="residual") for i in range(2))
EVEN = (1.0, 0.75, 0.5, 0.25, 0.0)
ROWS = [[0.0, 0.0], [0.3, 0.1], [0.3, 0.1], [0.3, 0.9]]
"""At delta 0.5 the first block is computed in steps 0 and 2, the second in 0 and 3."""


def _artefact(rows: list[list[float]], level: Level = Level.BLOCK, **changes: Any) -> Artefact:
    sites = tuple(map(str, SITES))
    network = Architecture(family="toy", level=level, sites=sites, blocks=(("blocks", 2),), hidden_size=3)
    sampling = Sampling(num_steps=len(rows), **changes.pop("sampling", {}))
    return Artefact(
        kind=Kind.PROFILE,
        method="block_caching",
        architecture=network,
        sampling=sampling,
        tensors={"profile": torch.tensor(rows), **changes.pop("adjustment", {})},
        name="profile.safetensors",
        **changes,
    )


def _policy(artefact: Artefact | None = None, **settings: Any) -> Policy:
    policy = POLICIES["block_caching"]
    return policy(policy.config_type(profile=artefact, **settings))


def _computed(policy: Policy, run: Run) -> list[str]:
    """Return for every step which of the two blocks are computed, as digits."""
    plans = [
        policy.plan(Call(index=step, step=step, sigma=run.sigmas[step], run=run), Evidence(sites=SITES))
        for step in range(run.num_steps)
    ]
    return ["".join(str(int(plan[site] is Action.COMPUTE)) for site in SITES) for plan in plans]


def _estimate(policy: Policy, value: Tensor, step: int, stream: int = 0, run: Run | None = None) -> Tensor:
    run = run or published.even_run(4)
    call = Call(index=step, step=step, sigma=run.sigmas[step], run=run)
    return policy.estimate(
        (Snapshot(call=call, value=value),), Target(call=call, site=SITES[1], stream=stream)
    )


def test_every_block_follows_its_own_schedule() -> None:
    assert _computed(_policy(_artefact(ROWS)), published.even_run(4)) == ["11", "00", "10", "01"]


@pytest.mark.parametrize(("delta", "ratio"), [(0.0, 1.0), (0.25, 6 / 8), (0.5, 0.5), (2.0, 0.25)])
def test_refresh_ratio_is_that_of_the_schedule(delta: float, ratio: float) -> None:
    """At 0.25 the first block is computed in every step, the second in 0 and 3."""
    policy = _policy(_artefact(ROWS), delta=delta)
    assert predict_refresh_ratio(policy, published.even_run(4), SITES) == ratio


def test_without_a_profile_everything_is_computed() -> None:
    assert predict_refresh_ratio(_policy(), published.even_run(4), SITES) == 1.0


def test_several_calls_of_a_step_follow_its_row() -> None:
    run = Run(sigmas=EVEN, sampler="heun", call_steps=(0, 0, 1, 1, 2, 2, 3))
    assert predict_refresh_ratio(_policy(_artefact(ROWS)), run, SITES) == pytest.approx(7 / 14)


def test_other_steps_follow_the_nearest_noise_level_and_the_first_is_full() -> None:
    policy = _policy(_artefact(ROWS, sampling={"sigmas": EVEN}))
    assert _computed(policy, published.even_run(8)) == ["11", "11", "00", "00", "10", "10", "01", "01"]
    (note,) = policy.check_run(published.even_run(8))
    assert "'profile.safetensors' was made for 4 steps" in note


def test_a_run_that_begins_in_the_middle_has_a_full_first_step() -> None:
    run = Run(sigmas=(0.5, 0.25, 0.0), sampler="euler", call_steps=(0, 1))
    assert _computed(_policy(_artefact(ROWS, sampling={"sigmas": EVEN})), run) == ["11", "01"]


def test_other_steps_are_refused_where_noise_levels_are_unknown() -> None:
    with pytest.raises(ArtefactError, match="does not say its noise levels"):
        _policy(_artefact(ROWS)).check_run(published.even_run(5))


def test_a_run_as_calibrated_has_no_notes() -> None:
    assert _policy(_artefact(ROWS, sampling={"sigmas": EVEN})).check_run(published.even_run(4)) == ()


def test_the_residual_is_reused_as_it_is_and_is_a_copy() -> None:
    value = torch.ones(1, 2, 3)
    estimate = _estimate(_policy(_artefact(ROWS)), value, 1)
    assert torch.equal(estimate, value)
    assert estimate.data_ptr() != value.data_ptr()


def _adjustment(stream: int = 0, **changes: Tensor) -> dict[str, Tensor]:
    """Return gamma = step, beta = (10, 20, 30) * step for one stream of the second block."""
    steps = torch.arange(4.0)[:, None]
    parts = {"scale": steps.expand(4, 3).clone(), "shift": steps * torch.tensor([10.0, 20.0, 30.0])} | changes
    return {f"{part}.{SITES[1]}.{stream}": tensor for part, tensor in parts.items()}


def test_the_residual_is_scaled_and_shifted_per_step_and_channel() -> None:
    """2 * (1 + 3) + 3 * (10, 20, 30) in step 3; in step 1, 2 * (1 + 1) + (10, 20, 30)."""
    policy, value = _policy(_artefact(ROWS, adjustment=_adjustment())), torch.full((2, 5, 3), 2.0)
    assert _estimate(policy, value, 3)[1, 4].tolist() == [38.0, 68.0, 98.0]
    assert _estimate(policy, value, 1)[0, 0].tolist() == [14.0, 24.0, 34.0]
    assert torch.equal(value, torch.full((2, 5, 3), 2.0))


def test_a_stream_without_adjustment_is_reused_as_it_is() -> None:
    policy, value = _policy(_artefact(ROWS, adjustment=_adjustment(stream=1))), torch.ones(1, 1, 3)
    assert torch.equal(_estimate(policy, value, 3, stream=0), value)
    assert _estimate(policy, value, 1, stream=1).flatten().tolist() == [12.0, 22.0, 32.0]


def test_the_adjustment_is_mapped_over_noise_levels_too() -> None:
    """Step 6 of 8 has the noise of step 3 of 4."""
    artefact = _artefact(ROWS, adjustment=_adjustment(), sampling={"sigmas": EVEN})
    estimate = _estimate(_policy(artefact), torch.full((1, 1, 3), 2.0), 6, run=published.even_run(8))
    assert estimate.flatten().tolist() == [38.0, 68.0, 98.0]


def test_the_adjustment_keeps_the_type_of_the_feature() -> None:
    policy = _policy(_artefact(ROWS, adjustment=_adjustment()))
    assert _estimate(policy, torch.ones(1, 1, 3, dtype=torch.bfloat16), 1).dtype is torch.bfloat16


def test_an_adjustment_that_was_trained_for_another_delta_is_noted() -> None:
    trained = _artefact(ROWS, adjustment=_adjustment(), made={"trained_delta": 0.4})
    (note,) = _policy(trained, delta=0.5).check_run(published.even_run(4))
    assert note == "The scale-shift adjustment of 'profile.safetensors' was trained at delta 0.4, not 0.5."
    assert _policy(trained, delta=0.4).check_run(published.even_run(4)) == ()


@pytest.mark.parametrize(
    ("adjustment", "fault"),
    [
        ({"scale.blocks.7.residual.0": torch.zeros(4, 3)}, "'scale.blocks.7.residual.0' names no site"),
        ({"scale.blocks.0.residual.0": torch.zeros(4, 3)}, "'shift.blocks.0.residual.0' is missing beside"),
        (_adjustment(scale=torch.zeros(4, 5)), r"has shape \(4, 5\), expected \(steps, 3\)"),
    ],
)
def test_an_adjustment_that_fits_nothing_is_refused(adjustment: dict[str, Tensor], fault: str) -> None:
    with pytest.raises(ArtefactError, match=f"{fault}.*Feature Cache Calibrate"):
        _policy(_artefact(ROWS, adjustment=adjustment))


def test_a_profile_of_another_level_is_refused() -> None:
    with pytest.raises(ArtefactError, match="names sites at level 'module', expected 'block'"):
        _policy(_artefact(ROWS, level=Level.MODULE))


def test_another_kind_of_artefact_is_refused() -> None:
    mask = published.mask(
        torch.ones(2, 9, dtype=torch.bool), published.architecture("flux", published.flux_sites())
    )
    with pytest.raises(
        ConfigError, match=r"'profile' is 'mask.safetensors', expected an artefact of kind 'profile'"
    ):
        _policy(mask)

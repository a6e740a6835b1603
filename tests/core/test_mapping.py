"""A schedule on other steps than its own: over sigma, with a warning, or not at all."""

from __future__ import annotations

from typing import Any

import published
import pytest
import torch

from cache_core import Artefact, ArtefactError, Run, Sampling
from cache_core.mapping import check_run, nearest_row

NETWORK = published.architecture("flux", published.flux_sites())
EVEN = tuple(1 - step / 20 for step in range(21))


def _artefact(num_steps: int = 20, sigmas: tuple[float, ...] = EVEN, **sampling: Any) -> Artefact:
    compute = torch.ones(num_steps, len(NETWORK.sites), dtype=torch.bool)
    return published.mask(compute, NETWORK, sigmas=sigmas, **sampling)


def _rows(run: Run, sampling: Sampling, rows: range = range(20)) -> list[int]:
    return [nearest_row(sampling, run, step, rows) for step in range(run.num_steps)]


def test_its_own_steps_are_followed_one_by_one_without_a_word() -> None:
    artefact = _artefact(sampler="euler", cfg=4.0)
    run = published.even_run(20, cfg=4.0, size=(512, 512))
    assert check_run(artefact, run) == ()
    assert _rows(run, artefact.sampling) == list(range(20))


def test_without_noise_levels_steps_are_followed_one_by_one() -> None:
    artefact = _artefact(sigmas=())
    assert check_run(artefact, published.even_run(20)) == ()
    assert _rows(published.even_run(20), artefact.sampling) == list(range(20))


def test_half_the_steps_follow_every_other_row() -> None:
    assert _rows(published.even_run(10), _artefact().sampling) == list(range(0, 20, 2))


def test_more_steps_follow_the_nearest_and_of_two_equally_near_the_noisier() -> None:
    made = Sampling(num_steps=2, sigmas=(1.0, 0.5, 0.0))
    run = published.even_run(4)
    assert _rows(run, made, range(2)) == [0, 0, 1, 1]


def test_only_the_given_rows_are_followed() -> None:
    assert _rows(published.even_run(20), _artefact().sampling, range(1, 20, 2))[:5] == [1, 1, 1, 3, 3]


def test_a_run_that_starts_halfway_follows_the_second_half() -> None:
    whole = published.even_run(20)
    run = Run(sigmas=whole.sigmas[10:], sampler="euler")
    assert _rows(run, _artefact().sampling) == list(range(10, 20))
    [note] = check_run(_artefact(), run)
    assert "the 10 steps of this run" in note


@pytest.mark.parametrize("num_steps", [10, 15, 25, 40])
def test_other_steps_are_mapped_with_a_warning(num_steps: int) -> None:
    [note] = check_run(_artefact(sampler="euler", size=(64, 64)), published.even_run(num_steps))
    assert "'mask.safetensors' was made for 20 steps, euler, 64 x 64; each of the" in note
    assert f"{num_steps} steps of this run follows" in note


def test_another_scheduler_is_noticed_at_equal_steps() -> None:
    shifted = tuple(3 * sigma / (1 + 2 * sigma) for sigma in EVEN)
    assert len(check_run(_artefact(), Run(sigmas=shifted, sampler="euler"))) == 1


@pytest.mark.parametrize("num_steps", [9, 41, 4])
def test_too_few_or_too_many_steps_are_refused(num_steps: int) -> None:
    with pytest.raises(
        ArtefactError, match=f"This run has {num_steps} steps of 'euler': between its noise levels the file"
    ):
        check_run(_artefact(), published.even_run(num_steps))


def test_other_steps_without_noise_levels_are_refused() -> None:
    with pytest.raises(
        ArtefactError, match=r"it does not say its noise levels.*choose a file made for these"
    ):
        check_run(_artefact(sigmas=()), published.even_run(19))


def test_noise_levels_of_another_kind_are_refused() -> None:
    with pytest.raises(ArtefactError, match="far above the noise levels of the file"):
        check_run(_artefact(), Run(sigmas=tuple(14 * sigma for sigma in EVEN)))


def test_what_else_differs_is_told() -> None:
    artefact = _artefact(sampler="heun", cfg=4.0, size=(64, 64))
    notes = check_run(artefact, published.even_run(20, cfg=7.0, size=(64, 32)))
    assert [note.split(" with ")[1].split(",")[0] for note in notes] == [
        "sampler heun",
        "cfg 4.0",
        "size (64",
    ]


def test_a_kind_without_steps_fits_every_run() -> None:
    coefficients = Artefact(
        kind=published.Kind.COEFFICIENTS,
        method="teacache",
        architecture=NETWORK,
        sampling=Sampling(),
        tensors={"coefficients": torch.ones(5)},
    )
    assert check_run(coefficients, published.even_run(7)) == ()


def test_a_run_without_steps_is_no_fault() -> None:
    assert check_run(_artefact(), Run(sigmas=(1.0,))) == ()

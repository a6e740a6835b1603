"""A searched list on a run: the list itself, stretched over sigma, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cache_core import (
    POLICIES,
    Architecture,
    Artefact,
    ArtefactError,
    ConfigError,
    Kind,
    Level,
    Run,
    Sampling,
)
from cache_core.policies.step_list import StepList, StepListConfig
from cache_core.step_schedule import check_schedule, scheduled_steps

LISTED = (0, 1, 2, 4, 6, 8, 11, 14, 17, 19)


def _even(num_steps: int, start: float = 1.0) -> tuple[float, ...]:
    return tuple(start * (1 - i / num_steps) for i in range(num_steps + 1))


def _file(steps: tuple[int, ...] = LISTED, num_steps: int = 20, **changes: Any) -> Artefact:
    compute = torch.zeros(num_steps, 1, dtype=torch.bool)
    compute[list(steps)] = True
    given = {"num_steps": num_steps, "sigmas": _even(num_steps), "sampler": "euler", "cfg": 4.0}
    return Artefact(
        kind=Kind.STEPS,
        method="step_list",
        architecture=Architecture(family="toy", level=Level.MODEL, sites=("output",)),
        sampling=Sampling(**(given | changes)),
        tensors={"compute": compute},
        name="list.safetensors",
        made={"order": 2, "trust": "auto", "level": "model", "speedup": 2.0},
    )


def _run(sigmas: tuple[float, ...], **changes: Any) -> Run:
    return Run(sigmas=sigmas, **({"sampler": "euler", "cfg": 4.0} | changes))


def _policy(**settings: Any) -> StepList:
    return StepList(StepListConfig(**settings))


def test_file_is_followed_to_the_letter_at_its_own_settings() -> None:
    assert scheduled_steps(_file(), _run(_even(20))) == LISTED


def test_rounding_of_noise_levels_does_not_move_a_step() -> None:
    rounded = tuple(torch.tensor(_even(20), dtype=torch.float32).tolist())
    assert rounded != _even(20)
    assert scheduled_steps(_file(), _run(rounded)) == LISTED


def test_the_first_step_is_full_whatever_the_file_says() -> None:
    assert scheduled_steps(_file((3, 5)), _run(_even(20)))[0] == 0


@pytest.mark.parametrize("num_steps", [10, 16, 25, 30, 40])
def test_share_of_full_steps_stays_at_other_steps(num_steps: int) -> None:
    steps = scheduled_steps(_file(), _run(_even(num_steps)))
    assert len(steps) == pytest.approx(num_steps / 2, abs=1)
    assert (steps[0], max(steps) < num_steps) == (0, True)


def test_stretched_list_is_dense_where_the_file_is() -> None:
    """Of 10 full steps the file makes 4 before sigma 0.75; twice as many steps make twice as many."""
    steps = scheduled_steps(_file(), _run(_even(40)))
    assert sum(step < 10 for step in steps) == pytest.approx(2 * 3.5, abs=1)
    assert 20 - 1 <= len(steps) <= 20


def test_part_of_a_sampling_takes_that_part_of_the_list() -> None:
    """A run from sigma 0.5 on, as with denoise 0.5: the second half of the file's steps."""
    second = tuple(sigma for sigma in _even(20) if sigma <= 0.5)
    steps = scheduled_steps(_file(), _run(second))
    assert [step + 10 for step in steps] == pytest.approx([10, 13, 16, 19], abs=2)


def test_file_without_noise_levels_is_followed_step_by_step() -> None:
    assert scheduled_steps(_file(sigmas=()), _run(_even(20, 0.9))) == LISTED


def test_run_as_the_file_was_made_for_has_nothing_to_tell() -> None:
    assert check_schedule(_file(), _run(_even(20)), {"order": 2, "trust": "auto", "level": "model"}) == ()


def test_what_differs_from_the_search_is_told() -> None:
    notes = check_schedule(_file(), _run(_even(25), cfg=1.0), {"order": 1, "trust": "auto"})
    assert len(notes) == 3
    assert "stretched over the 25 steps of this run" in notes[0]
    assert "cfg 4.0, this run has 1.0" in notes[1]
    assert "searched with order 2, the method has 1" in notes[2]


def test_a_run_that_the_list_means_nothing_for_is_refused() -> None:
    with pytest.raises(ArtefactError, match="followed by half to twice as many"):
        check_schedule(_file(), _run(_even(50)), {})


def test_method_follows_its_file_in_the_place_of_the_rule() -> None:
    assert _policy(schedule=_file(), speedup=3.0).full_steps(_run(_even(20))) == LISTED


def test_speedup_1_computes_everything_with_a_file_too() -> None:
    assert _policy(schedule=_file(), speedup=1.0).full_steps(_run(_even(20))) == tuple(range(20))


def test_a_speedup_that_the_file_does_not_have_is_told() -> None:
    (note,) = _policy(schedule=_file(), speedup=3.0).check_run(_run(_even(20)))
    assert "speedup 2.0, the method has 3.0" in note
    assert _policy(schedule=_file()).check_run(_run(_even(20))) == ()


def test_a_written_list_beside_a_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'steps' is '0, 3' and there is the file 'list.safetensors'"):
        _policy(schedule=_file(), steps="0, 3")


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an artefact of kind 'steps'"):
        wrong = _file()
        _policy(
            schedule=Artefact(
                kind=Kind.MASK,
                method="mask",
                architecture=wrong.architecture,
                sampling=wrong.sampling,
                tensors=wrong.tensors,
            )
        )


def test_method_needs_no_file() -> None:
    [setting] = [details for item, details in POLICIES["step_list"].config_type.settings() if details.kinds]
    assert setting.is_optional

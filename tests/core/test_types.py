from __future__ import annotations

import pytest

from cache_core import Call, Level, Run, Site

SIGMAS = (1.0, 0.75, 0.5, 0.25, 0.0)


def test_site_names_say_where() -> None:
    assert (
        str(Site(level=Level.MODULE, path="double_blocks", index=3, part="img_mlp"))
        == "double_blocks.3.img_mlp"
    )


@pytest.mark.parametrize(
    ("sigma", "step"), [(1.0, 0), (0.8, 0), (0.75, 1), (0.3, 2), (0.25, 3), (0.1, 3), (0.0, 3), (14.6, 0)]
)
def test_step_is_the_interval_of_sigma_where_the_sampler_is_unknown(sigma: float, step: int) -> None:
    assert Run(sigmas=SIGMAS).step_of(0, sigma) == step


def test_second_call_belongs_to_the_step_that_made_it() -> None:
    heun = Run(sigmas=SIGMAS, call_steps=(0, 0, 1, 1, 2, 2, 3))
    assert heun.step_of(0, 1.0) == 0
    assert heun.step_of(1, 0.75) == 0, "Heun's second call lies on the next sigma"
    assert heun.step_of(2, 0.75) == 1


def test_calls_past_the_foreseen_end_go_by_sigma() -> None:
    assert Run(sigmas=SIGMAS, call_steps=(0, 1)).step_of(7, 0.3) == 2


def test_remaining_calls() -> None:
    known = Run(sigmas=SIGMAS, call_steps=(0, 1, 2, 3))
    assert Call(index=0, step=0, sigma=1.0, run=known).remaining == 3
    assert Call(index=0, step=0, sigma=1.0, run=Run(sigmas=SIGMAS)).remaining is None


def test_empty_schedule_has_no_steps() -> None:
    assert Run(sigmas=()).num_steps == 0
    assert Run(sigmas=()).step_of(0, 1.0) == 0


def test_noise_is_sigma_in_flow_models_and_goes_to_1_in_others() -> None:
    assert Run(sigmas=SIGMAS).noise == (1.0, 0.75, 0.5, 0.25)
    assert Run(sigmas=(3.0, 1.0, 0.0), flow=False).noise == (0.75, 0.5)


def test_noise_of_a_call_is_that_of_its_sigma() -> None:
    run = Run(sigmas=(3.0, 1.0, 0.0), flow=False)
    assert Call(index=0, step=0, sigma=3.0, run=run).noise == run.noise[0]

"""The books of a training: killed and resumed, interrupted, of another training, damaged; and two processes like one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lessons
import pytest
import torch

from cache_core import CacheError, Kind, Sampling
from cache_core.training.method import TRAININGS
from cache_core.training.trainer import Clock, Progress, Saving, Trainer, artefact_of
from cache_core.training.trajectory import Draws

METHODS = ("learning_to_cache", "harmonica")


class Stop(BaseException):
    """As the host's interrupt, which is no Exception."""


def trainer(name: str, path: Path | None, iterations: int = 6, every: int = 2, **identity: Any) -> Trainer:
    """Return a trainer of a new training."""
    cls = TRAININGS[name]
    config = cls.config_type(**({"proxy_every": 2} if name == "harmonica" else {}))
    training = cls(config, lessons.lesson(recompute=False, prompts=2))
    return Trainer(training, iterations, {"name": name, **identity}, Saving(path=path, every=every))


def scores(given: Trainer) -> torch.Tensor:
    """Return the router's scores."""
    return given.outcome().tensors["score"]


def stop_after(iteration: int) -> Callable[[Progress], None]:
    """Return what interrupts a training."""

    def on_progress(progress: Progress) -> None:
        if progress.iteration == iteration:
            raise Stop

    return on_progress


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stopped", [2, 3])
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(
    name: str, stopped: int, tmp_path: Path
) -> None:
    whole = trainer(name, None)
    whole.run(lambda progress: None)
    path = tmp_path / "a.training"
    with pytest.raises(Stop):
        trainer(name, path).run(stop_after(stopped))
    resumed = trainer(name, path)
    resumed.run(lambda progress: None)
    assert torch.equal(scores(resumed), scores(whole))
    assert [p.loss for p in resumed.history] == [p.loss for p in whole.history]


def test_a_killed_training_goes_on_from_the_last_time_it_was_saved(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.training", trainer("harmonica", None)
    whole.run(lambda progress: None)
    copies = []

    def on_progress(progress: Progress) -> None:
        copies.append(path.read_bytes() if path.exists() else b"")

    trainer("harmonica", path).run(on_progress)
    # What was on the disk in the fifth iteration was saved in the fourth.
    path.write_bytes(copies[4])
    resumed = trainer("harmonica", path)
    seen: list[int] = []
    resumed.run(lambda progress: seen.append(progress.iteration))
    assert seen == [5, 6]
    assert torch.equal(scores(resumed), scores(whole))


def test_an_iteration_that_was_cut_short_leaves_no_part_of_itself(tmp_path: Path) -> None:
    path, cut = tmp_path / "a.training", trainer("harmonica", tmp_path / "a.training", every=100)
    trajectory = cut.training.lesson.trajectory
    sample = trajectory.sample

    def failing(draw: Any, handle: Any) -> Any:
        def asked(call: Any, predict: Any) -> Any:
            if len(cut.history) == 3 and call.step == 2:
                raise Stop
            return handle(call, predict)

        return sample(draw, asked)

    trajectory.sample = failing  # type: ignore[method-assign]
    with pytest.raises(Stop):
        cut.run(lambda progress: None)
    whole, resumed = trainer("harmonica", None), trainer("harmonica", path)
    whole.run(lambda progress: None)
    resumed.run(lambda progress: None)
    assert torch.equal(scores(resumed), scores(whole))


def test_a_saved_training_of_other_settings_is_refused_and_both_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.training"
    trainer("learning_to_cache", path, iterations=1, seed=1).run(lambda progress: None)
    with pytest.raises(CacheError, match=r"'a.training' is another one \(seed: 1 there, 2 here\)"):
        trainer("learning_to_cache", path, seed=2).run(lambda progress: None)


def test_a_damaged_saved_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.training"
    path.write_bytes(b"no archive")
    with pytest.raises(CacheError, match="cannot be read"):
        trainer("learning_to_cache", path).run(lambda progress: None)


def test_a_saved_training_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "a.training"
    torch.save({"version": 1, "evil": Evil()}, path)
    with pytest.raises(CacheError, match="cannot be read"):
        trainer("learning_to_cache", path).run(lambda progress: None)
    assert not (tmp_path / "ran").exists()


def test_the_artefact_tells_how_it_was_made() -> None:
    done = trainer("learning_to_cache", None, iterations=1)
    done.run(lambda progress: None)
    sampling = Sampling(num_steps=4, sampler="euler")
    made = artefact_of(done.outcome(), done.training, {"iterations": 1}, sampling)
    assert (made.kind, made.method, made.threshold is not None) == (Kind.ROUTER, "learning_to_cache", True)
    assert made.made["iterations"] == 1
    assert made.made["wanted_refresh_ratio"] == 0.75


@pytest.mark.parametrize("iteration", [0, 1, 5])
def test_processes_draw_together_what_one_draws_alone(iteration: int) -> None:
    prompt, seeds = Draws(seed=7, batch=4, num_prompts=3).draw(iteration, 1)
    crew = [Draws(seed=7, batch=2, num_prompts=3, rank=rank, world=2).draw(iteration, 1) for rank in (0, 1)]
    assert [each for each, _ in crew] == [prompt, prompt]
    assert crew[0][1] + crew[1][1] == seeds


def test_a_training_says_how_long_it_takes_counting_what_costs_more() -> None:
    clock = Clock(done=0.0, due=30.0, seconds=0.0)
    # A third of the first iteration, which finds proxies and costs 20 of the 30.
    assert clock.seconds_left(part=5.0, seconds=10.0) == pytest.approx(50.0)
    clock.advance(20.0, 40.0)
    assert clock.seconds_left() == pytest.approx(20.0)


def test_harmonica_tells_what_it_does_while_it_finds_its_proxies() -> None:
    lines: list[str] = []
    trainer("harmonica", None, iterations=3).run(lambda progress: lines.append(str(progress)), lines.append)
    # Four steps: three proxies in the first iteration and again in the third.
    assert ["found what" in line for line in lines] == [True] * 3 + [False] * 2 + [True] * 3 + [False]
    assert lines[0].startswith("iteration 1 of 3, found what 1 of 3 steps mean for the image, about ")
    assert all(line.endswith(" s left") for line in lines)


CREW = """
import sys, os
sys.path[:0] = [{root!r}, {support!r}]
import torch, torch.distributed as dist
torch.set_num_threads(1)
import lessons
from pathlib import Path
from cache_core.training.trainer import Saving, Trainer
rank, world = int(sys.argv[1]), int(sys.argv[2])
if world > 1:
    dist.init_process_group("gloo", init_method="file://" + sys.argv[3], rank=rank, world_size=world)
lesson = lessons.lesson(recompute=False, batch=2 // world, prompts=3, rank=rank, world=world)
asked = {{"speedup": 1.3}} if sys.argv[5] == "harmonica" else {{}}
# Another machine, another clock: all must train by the first one's.
lesson.trajectory.seconds["mlp"] += 20 * rank
training = lessons.training(sys.argv[5], lesson, **asked)
path = Path(f"{{sys.argv[4]}}{{rank}}")
trainer = Trainer(training, 4, {{}}, Saving(path=path.with_suffix(".training"), writes=not rank))
def stop(progress):
    if progress.iteration == 2:
        raise KeyboardInterrupt
try:
    trainer.run(stop)
except KeyboardInterrupt:
    # Only the first process finds the file: each has a folder of its own, as on several machines.
    training = lessons.training(sys.argv[5], lesson, **asked)
    trainer = Trainer(training, 4, {{}}, trainer.saving)
    trainer.run(lambda progress: None)
torch.save((dict(trainer.outcome().tensors), [p.loss for p in trainer.history]), path)
if world > 1:
    dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [*METHODS, "scale_shift"])
def test_two_processes_stopped_and_gone_on_with_train_the_same_as_one_with_as_large_a_batch(
    root: Path, tmp_path: Path, name: str
) -> None:
    script = tmp_path / "crew.py"
    script.write_text(CREW.format(root=str(root), support=str(root / "tests" / "support")), encoding="utf-8")

    def run(world: int) -> list[tuple[dict[str, torch.Tensor], list[float]]]:
        out, meeting = str(tmp_path / f"out{world}_"), str(tmp_path / f"meeting{world}")
        crew = [
            subprocess.Popen([sys.executable, str(script), str(rank), str(world), meeting, out, name])
            for rank in range(world)
        ]
        assert [process.wait(timeout=500) for process in crew] == [0] * world
        return [torch.load(f"{out}{rank}") for rank in range(world)]

    ((alone, losses),) = run(1)
    first, second = run(2)
    assert all(torch.equal(first[0][part], second[0][part]) for part in alone)
    torch.testing.assert_close(first[0], alone, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(first[1], losses, rtol=1e-3, atol=1e-5)

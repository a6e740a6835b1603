"""The command line of `python dev.py train-router`: what it makes of its arguments, and what it refuses."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import real
import train_router
from torch.distributed.run import get_args_parser

from cache_core import TRAININGS
from cache_core.training.trainer import Progress
from devtools.commands import launcher

REQUIRED = ["--model", "zoo:flux", "--prompts", "prompts.txt", "--folder", "out"]


def given(*arguments: str) -> Any:
    """Return the parsed command line."""
    return train_router.parser().parse_args([*REQUIRED, *arguments])


def test_settings_take_the_types_of_the_methods_own() -> None:
    options = given("--set", "refresh_ratio=0.6", "--set", "proxy_every=5", "--set", "proxy=incremental")
    values = train_router.settings_of(options, TRAININGS["harmonica"].config_type)
    assert values == {"refresh_ratio": 0.6, "proxy_every": 5, "proxy": "incremental"}


@pytest.mark.parametrize(
    ("setting", "text"),
    [("delta=1", "names no setting of 'harmonica': refresh_ratio"), ("refresh_ratio=much", "is no float")],
)
def test_a_setting_that_is_none_is_refused(setting: str, text: str) -> None:
    with pytest.raises(train_router.ArgumentError, match=text):
        train_router.settings_of(given("--set", setting), TRAININGS["harmonica"].config_type)


def test_every_line_is_a_prompt_and_an_empty_file_is_refused(tmp_path: Path) -> None:
    options = given()
    options.prompts = tmp_path / "prompts.txt"
    options.prompts.write_text("a cat\n\n  a dog \n", encoding="utf-8")
    assert train_router.conditionings(options, lambda text: [text]) == [["a cat"], ["a dog"]]
    options.prompts.write_text("\n", encoding="utf-8")
    with pytest.raises(train_router.ArgumentError, match="holds no prompt"):
        train_router.conditionings(options, lambda text: [text])


def test_a_model_without_text_encoders_is_refused() -> None:
    pytest.importorskip("comfy", reason="needs ComfyUI on the import path")
    options = given()
    options.model = "flux1-dev.safetensors"
    with pytest.raises(train_router.ArgumentError, match="needs its text encoders"):
        train_router.load_model(options)


def test_the_log_has_a_row_per_iteration_also_after_a_resumed_training(tmp_path: Path) -> None:
    def progress(number: int) -> Progress:
        return Progress(
            iteration=number, total=3, loss=1.0 / number, seconds=2.0, figures={"refresh_ratio": 0.5}
        )

    history = [progress(1), progress(2), progress(3)]
    log = train_router.Log(tmp_path / "log.csv", 0)
    # The first two were trained before, without a log.
    log(history[2], SimpleNamespace(history=history))
    rows = list(csv.reader((tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["iteration", "loss", "seconds", "refresh_ratio"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]


def test_a_killed_training_repeats_no_row_of_the_log(tmp_path: Path) -> None:
    def progress(number: int) -> Progress:
        return Progress(iteration=number, total=4, loss=1.0, seconds=1.0, figures={})

    history = [progress(number) for number in (1, 2, 3, 4)]
    path = tmp_path / "log.csv"
    before, after = train_router.Log(path, 0), train_router.Log(path, 0)
    for number in (1, 2, 3):
        before(history[number - 1], SimpleNamespace(history=history[:number]))
    # Saved was the first iteration, so that the second is made again.
    for number in (2, 3, 4):
        after(history[number - 1], SimpleNamespace(history=history[:number]))
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4"]


def test_the_launcher_of_several_processes_leaves_our_options_alone() -> None:
    arguments = [*launcher(2)[2:], "train_router.py", "--log", "log.csv"]
    found = get_args_parser().parse_args(arguments)
    assert (found.training_script, found.training_script_args) == ("train_router.py", ["--log", "log.csv"])
    assert launcher(1) == []


@pytest.mark.slow
def test_two_processes_train_as_the_command_starts_them(root: Path, host: real.Host, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red circle\na blue square\n", encoding="utf-8")
    argv = [sys.executable, *launcher(2), str(root / "benchmarks" / "train_router.py")]
    argv += ["--model", "zoo:flux", "--prompts", str(tmp_path / "prompts.txt"), "--folder", str(tmp_path)]
    argv += ["--steps", "2", "--width", "64", "--height", "64", "--iterations", "2", "--name", "made"]
    argv += ["--method", "learning_to_cache", "--log", str(tmp_path / "log.csv")]
    env = os.environ | {"COMFYUI_PATH": str(host.folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=500, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "made.safetensors").is_file()
    assert len((tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_only_the_first_process_writes_the_log(tmp_path: Path) -> None:
    last = Progress(iteration=1, total=1, loss=1.0, seconds=1.0, figures={})
    train_router.Log(tmp_path / "log.csv", 1)(last, SimpleNamespace(history=[last]))
    assert not (tmp_path / "log.csv").exists()

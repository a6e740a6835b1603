"""The command line of `python dev.py train-router`: what it makes of its arguments, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import train_router

from cache_core import TRAININGS
from cache_core.training.trainer import Progress

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


def test_only_the_first_process_writes_the_log(tmp_path: Path) -> None:
    last = Progress(iteration=1, total=1, loss=1.0, seconds=1.0, figures={})
    train_router.Log(tmp_path / "log.csv", 1)(last, SimpleNamespace(history=[last]))
    assert not (tmp_path / "log.csv").exists()

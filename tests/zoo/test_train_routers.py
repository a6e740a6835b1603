"""The routers that ship with the zoo: what is trained for which file, and that nothing is trained twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("skimage", reason="scikit-image is not installed")

import train_router
from zoo import train_routers
from zoo.sampling import MODELS
from zoo.train_routers import Lesson, lessons, main

from cache_core import TRAININGS


def test_every_family_has_routers_at_the_papers_shares_and_a_scale_and_shift() -> None:
    found = [(one.method, one.reused) for one in lessons(["sd3"])]
    routers = [("learning_to_cache", share) for share in (15, 22, 40)]
    routers += [("harmonica", share) for share in (25, 40, 55)]
    assert sorted(found) == sorted([*routers, ("scale_shift", 50)])
    assert len({one.name for one in lessons(MODELS)}) == 7 * len(MODELS)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("question", ["every_second_step", "every_step"])
def test_the_workflows_name_a_router_that_is_trained(root: Path, model: str, question: str) -> None:
    path = root / "benchmarks" / "zoo" / "workflows" / f"{model}_what_may_{question}_reuse.json"
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    (loader,) = (node for node in nodes if node["type"] == "L2CRouterLoader")
    named = [value for value in loader["widgets_values"] if str(value).endswith(".safetensors")]
    assert {Path(name).stem for name in named} <= {one.name for one in lessons([model])} and len(named) == 1


@pytest.mark.parametrize("lesson", [one for one in lessons(["pixart"]) if one.method != "scale_shift"])
def test_a_lesson_is_a_command_line_that_train_router_understands(lesson: Lesson, tmp_path: Path) -> None:
    given = train_router.parser().parse_args(lesson.arguments(tmp_path))
    settings = train_router.settings_of(given, TRAININGS[lesson.method].config_type)
    assert settings["refresh_ratio"] == pytest.approx(1 - lesson.reused / 100)
    assert (given.steps, given.cfg, given.sampler, given.scheduler) == (20, 4.0, "euler", "simple")
    assert (given.width, given.height, given.name) == (272, 272, lesson.name)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return arguments that keep everything here, and leave out what takes time."""
    monkeypatch.setattr(train_routers, "_minutes", lambda due: 1.0)
    (tmp_path / "zoo").mkdir()
    return [
        "--models",
        "flux",
        "--only",
        "harmonica",
        "--work",
        str(tmp_path),
        "--folder",
        str(tmp_path / "zoo"),
    ]


def _shipped(folders: list[str]) -> list[str]:
    return sorted(path.name for path in Path(folders[-1]).glob("*"))


def test_what_is_trained_ships_and_is_not_trained_again(
    folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def train(lesson: Lesson, folder: Path) -> int:
        trained.append(lesson.name)
        (folder / f"{lesson.name}.safetensors").write_bytes(b"router")
        return 0

    monkeypatch.setattr(train_routers, "_train", train)
    assert (main(folders), main(folders)) == (0, 0)
    assert sorted(trained) == sorted(one.name for one in lessons(["flux"]) if one.method == "harmonica")
    assert _shipped(folders) == sorted(f"{name}.safetensors" for name in trained)


def test_a_training_that_fails_is_told_and_ships_nothing(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Lesson, "arguments", lambda self, folder: ["--model", "zoo:flux"])
    assert main([*folders, "--workers", "1"]) == 1
    assert "failed, see" in capfd.readouterr().out and _shipped(folders) == []
    (log,) = tmp_path.glob("flux_*/zoo_flux_harmonica_20_steps.log")
    text = log.read_text(encoding="utf-8")
    assert text.startswith("train_router.py --model zoo:flux") and "are required: --prompts, --folder" in text

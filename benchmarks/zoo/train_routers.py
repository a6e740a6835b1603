"""Trains the routers that ship with the zoo: `python dev.py zoo routers`.

Per model: Learning-to-Cache at 15, 22 and 40 % reuse, HarmoniCa at 25, 40 and 55 %, and Block Caching's scale and shift for
a schedule that reuses half. Each is one call of `train_router.py`, the command that trains for any model, and the call stands
at the head of its log. Several run side by side, each on one thread. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from metrics.study.crew import load_bench, measure_pace
from metrics.study.store import fingerprint
from quality.calibration import calibrate, parts
from quality.engine import load_engine
from quality.kit import artefact_path

from .mapping import GUIDANCE, SCHEDULER
from .sampling import MODELS, RECIPES, load_pipeline
from .scenes import caption, sample_scene
from .write_artefacts import FOLDER

NUM_STEPS = 20
REUSED = {"learning_to_cache": (22, 15, 40), "harmonica": (40, 25, 55)}
"""Percent of all evaluations that are reused; the first is the one that the ready copies of the workflows name."""
SCALE_SHIFT, SCALE_SHIFT_REUSED = "scale_shift", 50

NUM_PROMPTS, PROMPT_SEED, SEED = 64, 400_000, 0
"""Captions of the training split, which nothing measures, and the seed of routers and noise."""

ITERATIONS, LEARNING_RATE = 60, 0.3
"""Thirty times the authors' rate: in so few iterations only then do scores cross their range, and thresholds stay as asked."""

_PASSES = {"learning_to_cache": 2.5, "harmonica": 4.8, SCALE_SHIFT: 5.0}
"""About how many forward passes an iteration takes per step and branch of guidance, its backward passes included."""
_TOLD_EVERY = 10


@dataclass(frozen=True)
class Lesson:
    """What one file of the zoo learns.

    Attributes:
        model: One of `MODELS`.
        method: Name of the training.
        reused: Percent of all evaluations that are reused.
    """

    model: str
    method: str
    reused: int

    @property
    def name(self) -> str:
        """Name of the file, without suffix."""
        own = f"zoo_{self.model}_{self.method}_{NUM_STEPS}_steps"
        is_first = self.method == SCALE_SHIFT or self.reused == REUSED[self.method][0]
        return own if is_first else f"{own}_{self.reused}_reused"

    @property
    def num_passes(self) -> float:
        """About how many forward passes it takes."""
        return ITERATIONS * 2 * NUM_STEPS * _PASSES[self.method]

    def arguments(self, folder: Path) -> list[str]:
        """Return the arguments of `train_router.py`; prompts and profile lie in `folder`, and the file goes there."""
        size, profile = str(RECIPES[self.model].size), artefact_path(folder, "profile")
        made = [
            "--model",
            f"zoo:{self.model}",
            "--method",
            self.method,
            "--prompts",
            str(folder / "prompts.txt"),
        ]
        made += ["--steps", str(NUM_STEPS), "--cfg", f"{GUIDANCE:g}", "--scheduler", SCHEDULER]
        made += ["--width", size, "--height", size, "--seed", str(SEED), "--iterations", str(ITERATIONS)]
        made += ["--folder", str(folder), "--name", self.name, "--log", str(folder / f"{self.name}.csv")]
        made += ["--save-every", "10", "--keep-activations"]
        if self.method == SCALE_SHIFT:
            return [*made, "--profile", str(profile), "--set", f"delta={_delta(profile)}"]
        ratio = 1 - self.reused / 100
        return [*made, "--set", f"refresh_ratio={ratio:g}", "--set", f"learning_rate={LEARNING_RATE}"]


def lessons(models: Sequence[str]) -> Iterator[Lesson]:
    """Return what ships for some models, the routers of the workflows first."""
    for place in range(3):
        for model in models:
            yield from (Lesson(model, method, reused[place]) for method, reused in REUSED.items())
    yield from (Lesson(model, SCALE_SHIFT, SCALE_SHIFT_REUSED) for model in models)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not trained yet and put it where the zoo ships it; return the exit status."""
    given = _parser().parse_args(arguments)
    asked = [
        (one, given.work / f"{one.model}_{_sum(one.model)}")
        for one in lessons(given.models)
        if given.only in one.name
    ]
    due = [(one, folder) for one, folder in asked if not _made(one, folder).is_file()]
    if due:
        _say(
            f"{len(due)} trainings, estimated {_minutes(due) / given.workers:.0f} min in {given.workers} processes"
        )
    for one, folder in due:
        _prepare(one, folder)
    with ThreadPoolExecutor(given.workers) as pool:
        statuses = list(pool.map(lambda job: _train(*job), due))
    for one, folder in asked:
        if _made(one, folder).is_file():
            shutil.copyfile(_made(one, folder), given.folder / _made(one, folder).name)
    return 1 if any(statuses) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="zoo routers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="only these")
    parser.add_argument("--only", default="", metavar="TEXT", help="only files whose name holds this")
    parser.add_argument("--workers", type=int, default=max(1, min(8, os.cpu_count() or 1)), help="processes")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "feature_cache_zoo" / "routers")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the finished files go")
    return parser


def _sum(model: str) -> str:
    """Changes with the network, so that no router outlives what it was trained on."""
    return fingerprint([RECIPES[model].checkpoint], [torch.__version__])


def _made(lesson: Lesson, folder: Path) -> Path:
    return folder / f"{lesson.name}.safetensors"


def _minutes(due: Sequence[tuple[Lesson, Path]]) -> float:
    """Time of one process for all."""
    paces = {one.model: measure_pace(load_bench(one.model, folder), is_bfloat16=False) for one, folder in due}
    return sum(paces[one.model].per_pass * one.num_passes for one, _ in due) / 60.0


def _prepare(lesson: Lesson, folder: Path) -> None:
    """Write the prompts; for scale and shift also the change profile whose schedule they are for."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [caption(sample_scene(PROMPT_SEED, index, "train")) for index in range(NUM_PROMPTS)]
    (folder / "prompts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if lesson.method == SCALE_SHIFT and not artefact_path(folder, "profile").is_file():
        _say(f"{lesson.model}: calibrating the change profile")
        [profile] = [part for part in parts() if part.name == "profile"]
        with torch.inference_mode():
            calibrate(load_engine(), load_pipeline(lesson.model), profile, folder)


def _delta(profile: Path) -> float:
    """Return the delta at which a profile's schedule reuses as much as is wanted."""
    measured = load_engine().core.read_artefact(profile).measured
    return float(measured[f"delta_at_reuse_{SCALE_SHIFT_REUSED / 100:g}"])


def _train(lesson: Lesson, folder: Path) -> int:
    """Run one training in a process of its own, tell now and then how far it is, and return its exit status."""
    script = Path(__file__).resolve().parents[1] / "train_router.py"
    command = [sys.executable, str(script), *lesson.arguments(folder)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (folder / f"{lesson.name}.log").open("a", encoding="utf-8") as log:
        log.write(f"{shlex.join(['train_router.py', *command[2:]])}\n")
        with subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for number, line in enumerate(process.stdout):
                log.write(line)
                log.flush()
                if number % _TOLD_EVERY == 0:
                    _say(f"{lesson.name}  {line.strip()}")
    _say(f"{lesson.name}  {'done' if process.returncode == 0 else f'failed, see {log.name}'}")
    return process.returncode


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

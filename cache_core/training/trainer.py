"""Runs a training from where it stands to its end: keeps its books, saves it, and makes the artefact.

Saved is what stood at the end of an iteration, never a part of one. As everything drawn depends on the seed and the
number of the iteration only, a training that was killed and resumed ends where an uninterrupted one does.
"""

from __future__ import annotations

import json
import pickle
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..artefact import Artefact, Sampling, Scalar
from ..chart import Chart, Graph, Series
from ..errors import CacheError
from ..fingerprint import fingerprint
from .learner import from_first
from .method import Outcome, Training

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known after an iteration.

    Attributes:
        iteration: Iterations that are done.
        total: Iterations of the whole training.
        loss: Mean loss of the iteration, without the penalty.
        seconds: What the iteration took.
        figures: What the training shows besides.
        seconds_left: What the rest is expected to take; None in what was read from a file.
    """

    iteration: int
    total: int
    loss: float
    seconds: float
    figures: Mapping[str, float]
    seconds_left: float | None = None

    def __str__(self) -> str:
        """Return one line for people."""
        shown = [f"iteration {self.iteration} of {self.total}", f"loss {self.loss:.3g}"]
        if "refresh_ratio" in self.figures:
            shown.append(f"computes {self.figures['refresh_ratio']:.1%}")
        if "ideal_speedup" in self.figures:
            shown.append(f"ideal speedup {self.figures['ideal_speedup']:.2f}x")
        if self.seconds_left is not None:
            shown.append(f"about {self.seconds_left:.0f} s left")
        return ", ".join(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Where and when a training is saved.

    Attributes:
        path: The file, or None not to save at all. It is gone on when it is there.
        every: Iterations between two times.
        writes: Whether this process writes; one of several does.
    """

    path: Path | None = None
    every: int = 50
    writes: bool = True


@dataclass
class Clock:
    """Foresees how long a training still takes, from the work of its iterations and the time that it took until now.

    Attributes:
        done: Work that is done.
        due: Work of the rest.
        seconds: Time that what is done took.
    """

    done: float
    due: float
    seconds: float

    def advance(self, work: float, seconds: float) -> None:
        """Note that an iteration is done."""
        self.done, self.due, self.seconds = self.done + work, self.due - work, self.seconds + seconds

    def seconds_left(self, part: float = 0.0, seconds: float = 0.0) -> float:
        """Return the time that the rest will take, where `part` of the running iteration's work took `seconds`."""
        return (self.seconds + seconds) / (self.done + part) * max(self.due - part, 0.0)


@dataclass
class Trainer:
    """One training and its books.

    Attributes:
        training: What is trained.
        iterations: Iterations of the whole training.
        identity: What a saved training must have been made with to be gone on with.
        saving: Where and when it is saved.
        history: What was known after each iteration.
    """

    training: Training
    iterations: int
    identity: Mapping[str, Any]
    saving: Saving = field(default_factory=Saving)
    history: list[Progress] = field(default_factory=list)

    def run(
        self, on_progress: Callable[[Progress], None], on_part: Callable[[str], None] = lambda line: None
    ) -> None:
        """Train to the end, from the saved state where there is one.

        However this ends, an interrupt included, what stood at the end of the last iteration is saved.

        Args:
            on_progress: Called after every iteration.
            on_part: Called before the first and within a long iteration, with a line for people.

        Raises:
            CacheError: If what was saved belongs to another training, or the training fails.
        """
        if not self._resume():
            self.training.begin(on_part)
        standing, clock = self._state(), self._clock()
        try:
            while len(self.history) < self.iterations:
                self.history.append(self._iterate(clock, on_part))
                standing = self._state()
                on_progress(self.history[-1])
                if len(self.history) % self.saving.every == 0:
                    self._save(standing)
        finally:
            self._save(standing)

    def outcome(self) -> Outcome:
        """Return what has been trained."""
        return self.training.outcome()

    def charts(self) -> tuple[Chart, ...]:
        """Return how the figures went."""
        first = list(self.history[0].figures) if self.history else []
        shown = [("loss", [float(p.loss) for p in self.history])]
        shown += [(name, [p.figures[name] for p in self.history]) for name in first]
        x = [float(progress.iteration) for progress in self.history]
        return tuple(
            Graph(
                title=f"{name.replace('_', ' ')} by iteration",
                x_label="iteration",
                y_label=name,
                series=[Series(name=name, x=x, y=values, is_line=True)],
            )
            for name, values in shown
            if len(x) > 1
        )

    def forget(self) -> None:
        """Remove the saved state: the artefact is in its place."""
        if self.saving.writes and self.saving.path is not None:
            self.saving.path.unlink(missing_ok=True)

    def _clock(self) -> Clock:
        work = [self.training.work(number) for number in range(self.iterations)]
        done = len(self.history)
        return Clock(sum(work[:done]), sum(work[done:]), sum(p.seconds for p in self.history))

    def _iterate(self, clock: Clock, on_part: Callable[[str], None]) -> Progress:
        number, started = len(self.history) + 1, time.perf_counter()

        def tell(part: float, doing: str) -> None:
            left = clock.seconds_left(part, time.perf_counter() - started)
            on_part(f"iteration {number} of {self.iterations}, {doing}, about {left:.0f} s left")

        self.training.tell = tell
        loss = self.training.iterate(number - 1)
        seconds = time.perf_counter() - started
        clock.advance(self.training.work(number - 1), seconds)
        return Progress(
            iteration=number,
            total=self.iterations,
            loss=loss,
            seconds=seconds,
            figures=dict(self.training.figures()),
            seconds_left=clock.seconds_left(),
        )

    def _state(self) -> dict[str, Any]:
        rows = [[p.loss, p.seconds, json.dumps(dict(p.figures))] for p in self.history]
        return {
            "version": VERSION,
            "identity": json.dumps(dict(self.identity), sort_keys=True),
            "history": rows,
            "training": self.training.state(),
        }

    def _save(self, state: Mapping[str, Any]) -> None:
        path = self.saving.path
        if path is None or not self.saving.writes:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        try:
            torch.save(dict(state), partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _saved(self) -> dict[str, Any] | None:
        """Return the saved state, if there is one, and it is of this training."""
        path = self.saving.path
        if path is None or not path.is_file():
            return None
        state = _read(path)
        found, ours = json.loads(state["identity"]), json.loads(json.dumps(dict(self.identity)))
        if found != ours:
            other = [name for name in {*found, *ours} if found.get(name) != ours.get(name)]
            listed = ", ".join(
                f"{name}: {found.get(name)} there, {ours.get(name)} here" for name in sorted(other)
            )
            raise CacheError(
                f"The saved training '{path.name}' is another one ({listed}). Go on with its own settings, give this one "
                "another name, or remove the file."
            )
        return state

    def _resume(self) -> bool:
        """Take up the saved state, if there is one, which the first process reads for all: others may be on other machines."""
        state = from_first(self._saved)
        if state is None:
            return False
        self.training.restore(state["training"])
        self.history = [
            Progress(
                iteration=number + 1,
                total=self.iterations,
                loss=loss,
                seconds=seconds,
                figures=json.loads(figures),
            )
            for number, (loss, seconds, figures) in enumerate(state["history"])
        ]
        return True


def artefact_of(
    outcome: Outcome, training: Training, made: Mapping[str, Scalar], sampling: Sampling
) -> Artefact:
    """Return the artefact of what was trained.

    Args:
        outcome: What was trained.
        training: The training.
        made: What else is to be known of how it was made.
        sampling: The settings it was trained at.

    Raises:
        ArtefactError: If it is not a valid one.
    """
    return Artefact(
        kind=outcome.kind,
        method=outcome.method,
        architecture=fingerprint(training.lesson.adapter, training.level),
        sampling=sampling,
        tensors=outcome.tensors,
        threshold=outcome.threshold,
        made={**made, **outcome.made},
        measured=outcome.measured,
    )


def _read(path: Path) -> dict[str, Any]:
    """Return a saved state. Only tensors and plain values are read, never objects that could run code."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as fault:
        raise CacheError(
            f"The saved training '{path.name}' cannot be read: {str(fault).splitlines()[0]}. Remove it to begin anew."
        ) from fault
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise CacheError(f"'{path.name}' is no saved training of this version. Remove it to begin anew.")
    return state

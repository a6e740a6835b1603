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
    """

    iteration: int
    total: int
    loss: float
    seconds: float
    figures: Mapping[str, float]

    def __str__(self) -> str:
        """Return one line for people."""
        shown = [f"iteration {self.iteration} of {self.total}", f"loss {self.loss:.3g}"]
        if "refresh_ratio" in self.figures:
            shown.append(f"computes {self.figures['refresh_ratio']:.1%}")
        return f"{', '.join(shown)}, about {self.seconds * (self.total - self.iteration):.0f} s left"


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

    def run(self, on_progress: Callable[[Progress], None]) -> None:
        """Train to the end, from the saved state where there is one; `on_progress` is called after every iteration.

        However this ends, an interrupt included, what stood at the end of the last iteration is saved.

        Raises:
            CacheError: If what was saved belongs to another training, or the training fails.
        """
        self._resume()
        standing = self._state()
        try:
            while len(self.history) < self.iterations:
                self.history.append(self._iterate())
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

    def _iterate(self) -> Progress:
        started = time.perf_counter()
        loss = self.training.iterate(len(self.history))
        return Progress(
            iteration=len(self.history) + 1,
            total=self.iterations,
            loss=loss,
            seconds=time.perf_counter() - started,
            figures=dict(self.training.figures()),
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

    def _resume(self) -> None:
        path = self.saving.path
        if path is None or not path.is_file():
            return
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

"""A searched step list on a run: the same list at the settings it was made for, stretched over sigma at others.

Along the noise levels of its file a list is read as a count: how many full steps have been made by then, in between by straight
lines. In a run with r times as many steps over the same noise levels a step is full where r times that count, from the first step
on, reaches the next whole number. So the share of full steps stays, and they lie where the list had them, however a run's
noise levels are spaced. On the file's own schedule this is the list itself.
"""

from __future__ import annotations

import numpy as np

from .artefact import Artefact
from .mapping import check_run
from .types import Run

ROUNDING = 1e-6
"""Noise levels in a file and in a run may differ by as much as their data types do."""

STRETCHED = (
    "the list is stretched over the {num_steps} steps of this run, by their noise levels. Expect a worse picture than it was "
    "measured at."
)


def scheduled_steps(artefact: Artefact, run: Run) -> tuple[int, ...]:
    """Return the full steps of `run` by an artefact of kind STEPS."""
    listed = artefact.tensors["compute"][:, 0].nonzero().flatten().tolist()
    made = artefact.sampling.sigmas
    if not made or run.sigmas == made:
        return tuple(dict.fromkeys((0, *listed)))
    # Counted against falling noise, which makes both axes rise.
    places = [-made[step] for step in listed] + [-made[-1]]
    levels = -np.asarray(run.sigmas[:-1])
    counts = np.interp(levels, places, range(len(places)))
    covered = sum(run.sigmas[-1] * 0.999 <= sigma <= run.sigmas[0] * 1.001 for sigma in made[:-1])
    reached = np.floor((counts - counts[0]) * run.num_steps / max(covered, 1) + ROUNDING)
    return (0, *(np.flatnonzero(np.diff(reached) > 0) + 1).tolist())


def check_schedule(artefact: Artefact, run: Run, settings: dict[str, object]) -> tuple[str, ...]:
    """Return what a user should know before `run` follows an artefact of kind STEPS.

    Args:
        artefact: The file.
        run: The run.
        settings: Of the method, by the names under which the file says what it was searched with.

    Raises:
        ArtefactError: If the list means nothing for this run.
    """
    others = [
        f"{artefact} was searched with {name} {artefact.made[name]}, the method has {value}: another list may be better."
        for name, value in settings.items()
        if artefact.made.get(name, value) != value
    ]
    return (*check_run(artefact, run, STRETCHED), *others)

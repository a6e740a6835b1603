"""Fits a schedule that was made for one sampling run to another: over sigma, or not at all.

Rule: a step of the run takes the row of the step with the nearest noise level (of two equally near, the noisier).
That is faithful as long as steps are about as far apart as they were when the schedule was made, so a run with
less than half or more than twice as many steps over the same noise levels is refused. A file without noise levels is followed step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

from .artefact import CAUTION, Artefact, Sampling
from .errors import ArtefactError
from .types import Run

MAX_STRETCH = 2.0
"""How many times as far apart, or as close together, the steps of a run may be."""

MAX_EXCESS = 1.5
"""How many times the file's highest noise level a run may begin at; beyond, sigma means something else."""


def nearest_row(sampling: Sampling, run: Run, step: int, rows: Sequence[int]) -> int:
    """Return the one of `rows` that step `step` of `run` follows; the step itself where no sigmas are known."""
    if not sampling.sigmas:
        return step
    sigma = run.sigmas[step]
    return min(rows, key=lambda row: (abs(sampling.sigmas[row] - sigma), row))


NEAREST = (
    "each of the {num_steps} steps of this run follows the one of its steps with the nearest noise level. Expect a worse picture "
    "than it was measured at."
)
"""What becomes of a schedule at other steps."""


def check_run(artefact: Artefact, run: Run, mapped: str = NEAREST) -> tuple[str, ...]:
    """Return what a user should know before `run` follows the schedule of `artefact`; empty if it fits exactly.

    Args:
        artefact: The file.
        run: The run.
        mapped: What to say becomes of the schedule at other steps.

    Raises:
        ArtefactError: If the schedule means nothing for this run.
    """
    made = artefact.sampling
    if made.num_steps is None or run.num_steps == 0:
        return ()
    if made.sigmas:
        _check_spacing(artefact, run)
    elif run.num_steps != made.num_steps:
        raise _unfit(artefact, run, "it does not say its noise levels, so it cannot be mapped to other steps")
    rows = [nearest_row(made, run, step, range(made.num_steps)) for step in range(run.num_steps)]
    if rows == list(range(made.num_steps)):
        return _differences(artefact, run)
    told = f"{artefact} was made for {made}; {mapped.format(num_steps=run.num_steps)}"
    return (told, *_differences(artefact, run))


def _check_spacing(artefact: Artefact, run: Run) -> None:
    """Refuse a run whose steps lie much closer together, or further apart, or in another range of noise."""
    highest, lowest = run.sigmas[0] * 1.001, run.sigmas[-1] * 0.999
    if highest > MAX_EXCESS * artefact.sampling.sigmas[0]:
        raise _unfit(artefact, run, "it begins far above the noise levels of the file")
    spanned = sum(lowest <= sigma <= highest for sigma in artefact.sampling.sigmas[:-1])
    if not spanned / MAX_STRETCH <= run.num_steps <= max(spanned, 1) * MAX_STRETCH:
        raise _unfit(
            artefact,
            run,
            f"between its noise levels the file has {spanned}, and a schedule is followed by half to twice as many",
        )


def _unfit(artefact: Artefact, run: Run, reason: str) -> ArtefactError:
    return ArtefactError(
        f"The artefact {artefact} was made for {artefact.sampling}. This run has {run.num_steps} steps of "
        f"'{run.sampler}': {reason}. Sample with the settings of the file, or choose a file made for these."
    )


def _differences(artefact: Artefact, run: Run) -> tuple[str, ...]:
    caution = (f"{artefact} {artefact.made[CAUTION]}",) if CAUTION in artefact.made else ()
    made = artefact.sampling
    pairs = {
        "sampler": (made.sampler, run.sampler),
        "cfg": (made.cfg, run.cfg),
        "size": (made.size, run.size),
    }
    return caution + tuple(
        f"{artefact} was made with {name} {ours}, this run has {theirs}."
        for name, (ours, theirs) in pairs.items()
        if None not in (ours, theirs) and ours != theirs
    )

"""The best few of the full run's noise levels, so that a clever schedule is not credited to caching.

A list holds n + 1 indices into the T + 1 noise levels of the full run: 0 and T always, n - 1 between them. Candidates to begin
with are even and bent lists, and the list of least total error of single Euler steps along the uncached run (by dynamic
programming over all pairs of levels). The best of them, by real runs, is improved by moving one index at a time, as long as
that helps and runs are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = tuple[int, ...]
BENDS = (1.0, 0.7, 1.4, 2.0)


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        indices: The best list.
        error: What the measure gave for it.
        start_error: And for the even one.
        num_runs: How many lists were measured.
    """

    indices: Indices
    error: float
    start_error: float
    num_runs: int


def bent(num_levels: int, num_steps: int, bend: float) -> Indices:
    """Return a list that is even with `bend` 1, closer together early with more and late with less.

    Args:
        num_levels: T, the steps of the full run.
        num_steps: n, at most T.
        bend: Exponent.
    """
    found = [0]
    for k in range(1, num_steps):
        wished = round(num_levels * (k / num_steps) ** bend)
        found.append(min(max(wished, found[-1] + 1), num_levels - (num_steps - k)))
    return (*found, num_levels)


def cheapest_path(costs: NDArray[np.float64], num_steps: int) -> Indices:
    """Return the list of `num_steps` jumps from level 0 to the last whose costs add up to least.

    Args:
        costs: (T + 1, T + 1), of a jump from row to column; only those forward count.
        num_steps: n, at most T.
    """
    last = len(costs) - 1
    best = np.full((num_steps + 1, last + 1), np.inf)
    origin = np.zeros((num_steps + 1, last + 1), dtype=int)
    best[0, 0] = 0.0
    for jumps in range(1, num_steps + 1):
        for end in range(jumps, last + 1):
            totals = best[jumps - 1, :end] + costs[:end, end]
            origin[jumps, end] = int(totals.argmin())
            best[jumps, end] = totals[origin[jumps, end]]
    path = [last]
    for jumps in range(num_steps, 0, -1):
        path.append(int(origin[jumps, path[-1]]))
    return tuple(reversed(path))


def jump_errors(
    sigmas: Sequence[float], states: Sequence[NDArray[np.float32]], outputs: Sequence[NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Return (T + 1, T + 1): how far a single Euler step from a state of the uncached run misses a later one.

    Args:
        sigmas: T + 1 noise levels, noisiest first.
        states: T states, and the last latent.
        outputs: T expected clean pictures.
    """
    num_steps = len(outputs)
    errors = np.zeros((num_steps + 1, num_steps + 1))
    for start in range(num_steps):
        slope = (states[start] - outputs[start]) / sigmas[start]
        for end in range(start + 1, num_steps + 1):
            reached = states[start] + (sigmas[end] - sigmas[start]) * slope
            errors[start, end] = float(np.linalg.norm(reached - states[end]))
    return errors


def search(
    num_levels: int,
    num_steps: int,
    error_of: Callable[[Indices], float],
    num_runs: int,
    proposals: Sequence[Indices] = (),
) -> Found:
    """Return the best list within a number of runs; never worse than the even one.

    Args:
        num_levels: T.
        num_steps: n, less than T.
        error_of: Runs a list and measures it.
        num_runs: Most calls of `error_of`.
        proposals: Lists to begin with beside even and bent ones, tried right after the even one.
    """
    known: dict[Indices, float] = {}
    starts = [bent(num_levels, num_steps, 1.0), *proposals]
    starts += [bent(num_levels, num_steps, bend) for bend in BENDS]
    for one in starts[: max(1, num_runs)]:
        _measure(known, one, error_of, num_runs)
    best = min(known, key=known.__getitem__)
    while True:
        for moved in _moves(best):
            _measure(known, moved, error_of, num_runs)
            if known.get(moved, np.inf) < known[best]:
                best = moved
                break
        else:
            return Found(best, known[best], known[starts[0]], len(known))


def _measure(
    known: dict[Indices, float], one: Indices, error_of: Callable[[Indices], float], num_runs: int
) -> None:
    if one not in known and len(known) < num_runs:
        known[one] = error_of(one)


def _moves(indices: Indices) -> Iterator[Indices]:
    """The lists with one inner index moved by one."""
    for place in range(1, len(indices) - 1):
        for change in (-1, 1):
            moved = indices[place] + change
            if indices[place - 1] < moved < indices[place + 1]:
                yield (*indices[:place], moved, *indices[place + 1 :])

"""What is still to be drawn, in pieces that can be done in any order and by any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cells import FEWER, HEADLINE, Cell
from .store import batches, record_path

GRID_BATCH, HEADLINE_BATCH = 8, 16
DATA = "data"


@dataclass(frozen=True)
class Job:
    """One cell of one batch of seeds."""

    seeds: range
    cell: Cell | None
    """None stands for the data, which is drawn by the generator."""
    is_headline: bool
    """Whether only the summaries are kept."""

    @property
    def record(self) -> str:
        """Name of the folder of its record."""
        name = DATA if self.cell is None else self.cell.name
        return f"summary_{name}" if self.is_headline else name

    @property
    def num_passes(self) -> int:
        """Forward passes of the model."""
        return 0 if self.cell is None else len(self.seeds) * self.cell.num_passes


def open_jobs(folder: Path, cells: Sequence[Cell], num_seeds: int, num_samples: int) -> list[Job]:
    """What lacks its record.

    Args:
        folder: Of the study's records.
        cells: Of the grid, references first.
        num_seeds: Seeds of the grid.
        num_samples: Seeds of the headline cells; 0 leaves them out.
    """
    jobs = [Job(seeds, cell, False) for seeds in batches(num_seeds, GRID_BATCH) for cell in cells]
    for seeds in batches(num_samples, HEADLINE_BATCH):
        jobs += [Job(seeds, cell, True) for cell in (HEADLINE, FEWER, None)]
    return [job for job in jobs if not record_path(folder, job.record, job.seeds).is_file()]

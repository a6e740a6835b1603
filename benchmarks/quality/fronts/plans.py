"""One setting of a family: who takes part, on which seeds, and where what was made and drawn is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metrics.study.cells import Cell as Setting
from metrics.study.store import batches, record_path

from ..cells import Cell
from ..work import GRID_BATCH
from .code import code_of
from .front import SEARCHED, Front, bare
from .kit import Place, read_json
from .settings import FIRST_SEED, FIRST_TUNING_SEED, Size


@dataclass(frozen=True)
class Plan:
    """One setting of a family, and who takes part there.

    Attributes:
        place: Where its files are.
        fronts: Who takes part.
        size: How much is measured.
    """

    place: Place
    fronts: tuple[Front, ...]
    size: Size

    @property
    def setting(self) -> Setting:
        """Sampler, steps and guidance."""
        return self.place.setting

    def record(self, cell: Cell, seeds: range) -> Path:
        """Where a batch of a cell is kept."""
        return record_path(self.place.records, f"{cell.name}_{code_of(cell, self.size)}", seeds)

    def summary(self, cell: Cell, seeds: range) -> Path:
        """Where the summaries of a batch of a cell are kept."""
        return record_path(self.place.records, f"summary_{cell.name}_{code_of(cell, self.size)}", seeds)

    def passes(self, cell: Cell) -> int:
        """About how many forward passes a picture of a cell takes."""
        own = Setting(self.setting.sampler, cell.steps, self.setting.cfg)
        return round(own.num_passes * cell.share)

    def thresholds(self, front: Front) -> Path:
        """Where a front's thresholds are kept."""
        return self.place.thresholds(front.tuned_as, code_of(bare(front.cells[0]), self.size))

    def searched(self, num_steps: int) -> Path:
        """Where the searched list of some number of steps is kept."""
        return self.place.searched(num_steps, code_of(_searched_cell(num_steps), self.size))

    def distinct(self, front: Front) -> tuple[Cell, ...]:
        """A front's cells; where thresholds were found, only the first of those that share one."""
        path = self.thresholds(front)
        if not front.tuned_as or not path.is_file():
            return front.cells
        numbers = read_json(path)["thresholds"]
        by_number = {numbers[cell.tuned[1]]: cell for cell in reversed(front.cells)}
        return tuple(cell for cell in front.cells if cell in by_number.values())

    def error(self, front: Front) -> Path:
        """Where it is kept why a pack cannot take part."""
        code = code_of(front.cells[0], self.size)
        return self.place.records / "errors" / f"{front.name}_{code}.txt"

    def batches(self) -> list[range]:
        """The seeds that are measured."""
        found = batches(self.size.seeds, GRID_BATCH)
        return [range(FIRST_SEED + one.start, FIRST_SEED + one.stop) for one in found]

    def tuning_seeds(self, number: int, count: int) -> range:
        """Seeds of calibration, threshold or search `number`; none is measured."""
        first = FIRST_TUNING_SEED + 20 * number
        return range(first, first + count)


def _searched_cell(num_steps: int) -> Cell:
    return Cell(name=f"{SEARCHED}_{num_steps}", label="", method=SEARCHED, steps=num_steps)

"""What a feature did from one call to the next, summed up over pictures and runs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over pictures.

    Attributes:
        difference: (G, D) float32, how much the feature grew, by groups of tokens.
        energy: () float32, the squared norm of that per token, before grouping.
        change: () float32, its size relative to the feature's.
        count: Number of pictures.
    """

    difference: Tensor
    energy: Tensor
    change: Tensor
    count: int

    def __add__(self, other: Tally) -> Tally:
        """Return the sums over the pictures of both."""
        return Tally(
            self.difference + other.difference,
            self.energy + other.energy,
            self.change + other.change,
            self.count + other.count,
        )

    def to_cpu(self) -> Tally:
        """Return a copy on the CPU."""
        return Tally(self.difference.cpu(), self.energy.cpu(), self.change.cpu(), self.count)

    @property
    def mean(self) -> Tensor:
        """Mean difference, (G, D)."""
        return self.difference / self.count

    @property
    def explained(self) -> float:
        """Part of the squared differences that their mean holds, from 0 to 1; 1 where there is none."""
        common, whole = float(self.mean.square().sum()) / len(self.mean), float(self.energy) / self.count
        return common / whole if whole else 1.0

"""What the classifier sees in pictures, computed once and used by several metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .classifier import SIZE, Classifier
from .labels import Labels
from .pictures import require_pictures, resize, to_channels_first

_BATCH = 16


@dataclass(frozen=True)
class Observation:
    """B pictures as the classifier sees them."""

    maps: tuple[Tensor, ...]
    """Feature maps of its stages: (B, 48, 32, 32), (B, 96, 16, 16) and (B, 192, 8, 8) float32."""
    reading: Labels
    """The answer of every head: per head (B, S) indices into its words."""
    summary: Tensor
    """(B, 64) float32, for Frechet distances."""


@torch.inference_mode()
def observe(classifier: Classifier, pictures: Tensor) -> Observation:
    """Let the classifier look at pictures of any one size.

    Args:
        classifier: From `load_classifier`.
        pictures: (B, H, W, 3) floats in [0, 1]; what lies outside is cut off.

    Returns:
        What it sees. Batches of a fixed size make the result independent of how many pictures come together.

    Raises:
        ValueError: If `pictures` has another shape, no floats or values that are not finite.
    """
    require_pictures("observe", pictures)
    return join([_observe_batch(classifier, batch) for batch in torch.split(pictures, _BATCH)])


def _observe_batch(classifier: Classifier, pictures: Tensor) -> Observation:
    maps = classifier.stages(resize(to_channels_first(pictures), SIZE))
    reading = {name: scores.argmax(dim=-1) for name, scores in classifier.answer(maps[-1]).items()}
    return Observation(maps=tuple(maps), reading=reading, summary=classifier.summarise(maps[-1]))


def join(parts: Sequence[Observation]) -> Observation:
    """Several observations as one, in their order."""
    return Observation(
        maps=tuple(torch.cat(maps) for maps in zip(*(part.maps for part in parts), strict=True)),
        reading={name: torch.cat([part.reading[name] for part in parts]) for name in parts[0].reading},
        summary=torch.cat([part.summary for part in parts]),
    )

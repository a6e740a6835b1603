"""A perceptual distance in the features of the zoo's own classifier: no downloaded network is needed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .observation import Observation
from .pictures import require_alike


def perceptual_distance(seen: Observation, references: Observation) -> Tensor:
    """Mean squared distance of unit feature vectors, averaged over positions, then over the stages.

    Source: Zhang et al. 2018, arXiv:1801.03924, Eq. 1, with all channel weights 1 and another network.

    Args:
        seen: B pictures.
        references: The references of the same seeds, in the same order.

    Returns:
        (B,) float32 in [0, 4]; 0 where the features are equal.

    Raises:
        ValueError: If the numbers of pictures differ or a feature is not finite.
    """
    pairs = zip(seen.maps, references.maps, strict=True)
    return torch.stack([_stage_distance(one, other) for one, other in pairs]).mean(dim=0)


def _stage_distance(features: Tensor, references: Tensor) -> Tensor:
    """(B, C, h, w) twice, to (B,)."""
    require_alike(features, references)
    change = nn.functional.normalize(features) - nn.functional.normalize(references)
    return change.square().sum(dim=1).mean(dim=(1, 2))

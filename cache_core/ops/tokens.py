"""Tokens of a feature in groups: their mean over a group, and a group's value back at all its tokens.

B batch, N tokens, D width, G groups. A group is a run of neighbouring tokens, so that rows of a picture stay together.
A network's own input or output (B, C, ..., H, W) has one token of width C for each latent pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

TOKENS_NDIM = 3


def as_tokens(feature: Tensor) -> Tensor:
    """Return a feature (B, N, D) as it is, and one of pixels (B, C, ..., H, W) as (B, N, C); a view."""
    return feature if feature.ndim == TOKENS_NDIM else feature.flatten(2).transpose(1, 2)


def group_means(tokens: Tensor, num_groups: int) -> Tensor:
    """Return the mean of every group: (B, N, D) to (B, G, D) float32."""
    return functional.adaptive_avg_pool1d(tokens.float().transpose(1, 2), num_groups).transpose(1, 2)


def spread(groups: Tensor, feature: Tensor) -> Tensor:
    """Return what has at each token its group's value, to be added to `feature`.

    Args:
        groups: (G, D), or (G, 1) for the whole width.
        feature: (B, N, D) or (B, C, ..., H, W), with C = D.

    Returns:
        (N, D) or (C, ..., H, W), of the type and on the device of `feature`.
    """
    (_, num_tokens, width), num_groups = as_tokens(feature).shape, len(groups)
    near = groups.to(feature)
    if num_groups not in (1, num_tokens):
        near = near[torch.arange(num_tokens, device=feature.device) * num_groups // num_tokens]
    near = near.expand(num_tokens, width)  # (N, D)
    return near if feature.ndim == TOKENS_NDIM else near.T.reshape(feature.shape[1:])


def most_groups(shapes: Sequence[tuple[int, int]], budget: int) -> int:
    """Return into how many groups tokens may be averaged.

    Args:
        shapes: (N, D), tokens and width of every feature.
        budget: How many numbers may be kept: (G, D) of every feature, with G the lesser of N and the groups.

    Returns:
        As many as tokens, where that fits; else the greatest power of two that does; at least 1.
    """
    most = max(tokens for tokens, _ in shapes)
    options = [most, *(2**power for power in range(most.bit_length() - 1, 0, -1))]
    fitting = (g for g in options if sum(min(g, tokens) * width for tokens, width in shapes) <= budget)
    return next(fitting, 1)


def turns_back(differences: Sequence[Tensor]) -> Tensor:
    """Return in which steps features turn back: where their difference points against that of the step before.

    Args:
        differences: (T, G, D) of every feature, from step to step; together they are one direction.

    Returns:
        (T,) bool.
    """
    along = torch.cat([difference.flatten(1) for difference in differences], dim=1)
    cosine = functional.cosine_similarity(along[1:], along[:-1], dim=1)
    return functional.pad(cosine < 0, (1, 0))

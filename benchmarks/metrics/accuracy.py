"""Caption accuracy: the share of what a caption names that the classifier finds in the picture.

What is named, by kind: for each item its place, shape, colour, texture (no word means plain), size and, unless
it is round, its tilt (no word means upright); for lettering its row, its text, its colour and its font; the
kind and the colours of the background; shadows or edges. An item's or lettering's further attributes count as
found only where the classifier sees an item or lettering at all. What is drawn beyond the caption costs nothing.

B pictures, S sites of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .labels import HEAD, NOTHING, UNNAMED, Labels, backdrop_members

_ITEM_HEADS = ("shape", "colour", "texture", "size", "tilt")
_LETTERING_HEADS = ("text", "ink", "font")
_PICTURE_HEADS = ("background", "relief")
KINDS = ("place", *_ITEM_HEADS, "row", *_LETTERING_HEADS, *_PICTURE_HEADS, "backdrop")


@dataclass(frozen=True)
class Findings:
    """Per kind of attribute (B,) int64: how many the caption names, and how many of these are found."""

    named: dict[str, Tensor]
    found: dict[str, Tensor]

    def accuracy(self) -> Tensor:
        """Share of all attributes of each caption that are found: (B,) float64."""
        return _total(self.found) / _total(self.named)

    def by_kind(self) -> dict[str, float]:
        """Share found of each kind over all pictures; kinds that no caption names are left out."""
        sums = {kind: (int(self.found[kind].sum()), int(self.named[kind].sum())) for kind in KINDS}
        return {kind: found / named for kind, (found, named) in sums.items() if named}


def find_attributes(reading: Labels, labels: Labels) -> Findings:
    """Compare what was read in pictures with what their captions say.

    Args:
        reading: Per head (B, S), from `observe`.
        labels: Per head (B, S), from `label_scenes`.

    Returns:
        Counts per kind.

    Raises:
        ValueError: If the numbers of pictures and captions differ.
    """
    pictures, captions = len(reading["shape"]), len(labels["shape"])
    if pictures != captions:
        raise ValueError(
            f"caption accuracy: got {pictures} pictures and {captions} captions; expected one caption for each "
            "picture; pass the captions that the pictures were drawn from, in their order"
        )
    parts = [
        _compare_sites(reading, labels, "place", _ITEM_HEADS),
        _compare_sites(reading, labels, "row", _LETTERING_HEADS),
        {name: _compare(reading, labels, name, torch.tensor(True)) for name in _PICTURE_HEADS},
        {"backdrop": _compare_backdrops(reading["backdrop"], labels["backdrop"])},
    ]
    counts = {kind: count for part in parts for kind, count in part.items()}
    return Findings(
        named={kind: counts[kind][0] for kind in KINDS}, found={kind: counts[kind][1] for kind in KINDS}
    )


Count = tuple[Tensor, Tensor]
"""Named and found, each (B,)."""


def _compare_sites(reading: Labels, labels: Labels, kind: str, heads: tuple[str, ...]) -> dict[str, Count]:
    """Sites where the caption puts something, and the answers of `heads` there; the first can say nothing."""
    nothing = HEAD[heads[0]].words.index(NOTHING)
    there, seen = labels[heads[0]] != nothing, reading[heads[0]] != nothing
    counts = {name: _compare(reading, labels, name, there & seen) for name in heads}
    counts[heads[0]] = (there.sum(dim=1), counts[heads[0]][1])
    return {kind: (there.sum(dim=1), (there & seen).sum(dim=1)), **counts}


def _compare(reading: Labels, labels: Labels, name: str, counts_where: Tensor) -> Count:
    named = labels[name] != UNNAMED
    found = named & counts_where & (reading[name] == labels[name])
    return named.sum(dim=1), found.sum(dim=1)


def _compare_backdrops(read: Tensor, named: Tensor) -> Count:
    """Each colour of the background for itself: two for all kinds but plain."""
    members = backdrop_members()
    wanted, seen = members[named[:, 0]], members[read[:, 0]]  # (B, 10)
    return wanted.sum(dim=1), (wanted & seen).sum(dim=1)


def _total(counts: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(counts.values())).sum(dim=0).double()

"""Which of TeaCache's published polynomials belongs to a MODEL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..cache_core import Adapter, Level, fingerprint
from ..cache_core.ops.teacache_coefficients import IDENTITY, Shape, published_for

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """The name of a polynomial, and why it was chosen."""

    name: str
    reason: str


def choose(adapter: Adapter) -> Choice:
    """Return the polynomial of the network that `adapter` is bound to, as far as its shape tells.

    Fine-tunes share the shape of their base, so of several that fit it is the base's, which the table has first.
    """
    fitting = published_for(shape_of(adapter))
    if not fitting:
        return Choice(
            IDENTITY,
            f"Nobody has published TeaCache coefficients for this model ('{adapter.name}', "
            f"{_counted(adapter)}): the change is taken as it is, and a threshold of 0.1 is a good beginning. "
            "Better calibrate it with Feature Cache Calibrate, or use the indicator 'seacache', which needs no calibration.",
        )
    others = "".join(f" If it is {name}, choose that: it has the same shape." for name in fitting[1:])
    return Choice(
        fitting[0], f"The model has the shape of {fitting[0]}, whose coefficients are used.{others}"
    )


def shape_of(adapter: Adapter) -> Shape | None:
    """Return what tells the network from others, or None for a family without published polynomials."""
    if adapter.name != "flux":
        return None
    # The host's own class: typed loosely, because its attributes are the host's.
    network: Any = adapter.network
    made = fingerprint(adapter, Level.STACK)
    return Shape(
        family=made.family,
        blocks=made.blocks,
        width=adapter.width,
        in_channels=network.in_channels,
        guided=network.params.guidance_embed,
    )


def _counted(adapter: Adapter) -> str:
    blocks = fingerprint(adapter, Level.STACK).blocks
    return " and ".join(f"{count} {path.replace('_', ' ')}" for path, count in blocks)

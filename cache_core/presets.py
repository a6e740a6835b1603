"""The speedup that an intent means for a run: the largest measured one whose pictures stay near enough to the uncached ones.

The rows of `presets.json` come from `python dev.py bench presets` on the zoo's models: Step List at its defaults, over models,
classes of samplers, numbers of steps and guidance, on prompts and seeds that no other measurement uses. An intent is a least
PSNR against the uncached picture of the same seed; of several models of a kind the one that fares worst counts.

Small models of small pictures bear more than large ones: on FLUX.1-dev at 50 steps SeaCache is at 26 dB where it is 2.2 times as
fast (arXiv:2602.18993). So an intent has a largest speedup too, whatever was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .forecasting import USUAL, is_guided, scale_of
from .types import Run, SamplerClass


@dataclass(frozen=True, slots=True)
class Intent:
    """What an intent asks for.

    Attributes:
        floor: Least mean PSNR in dB.
        most: Largest speedup.
    """

    floor: float
    most: float


INTENTS: Mapping[str, Intent] = {
    "quality": Intent(40.0, 1.5),
    "balanced": Intent(35.0, 2.0),
    "fast": Intent(30.0, 3.0),
}
TABLE = Path(__file__).with_name("presets.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured at one place.

    Attributes:
        flow: Whether of flow models.
        guided: Whether with guidance.
        sampler: Class of the sampler.
        steps: Number of steps.
        speedups: By intent; 1 where no speedup comes near enough.
    """

    flow: bool
    guided: bool
    sampler: SamplerClass
    steps: int
    speedups: Mapping[str, float]


@cache
def rows() -> tuple[Row, ...]:
    """Return what was measured."""
    read: list[dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return tuple(Row(**row | {"sampler": SamplerClass(row["sampler"])}) for row in read)


def measured_speedup(run: Run, intent: str) -> float:
    """Return the speedup that an intent means for a run.

    Between two measured numbers of steps the smaller counts; a sampler of no known class is taken for the one that
    bears least. Guidance was measured at the usual scale; beyond it forecasts reach less far in proportion, see
    `forecasting.guided_trust`, and what is left out is lowered as much.

    Args:
        run: The run.
        intent: One of `INTENTS`.

    Returns:
        The speedup; 1, which computes every step, for fewer steps than were measured.
    """
    kind = (run.flow, is_guided(run))
    own = [row for row in rows() if (row.flow, row.guided) == kind and row.steps <= run.num_steps]
    if run.sampler_class is not SamplerClass.UNKNOWN:
        own = [row for row in own if row.sampler is run.sampler_class]
    most = max((row.steps for row in own), default=0)
    found = min((row.speedups[intent] for row in own if row.steps == most), default=1.0)
    return 1 + (found - 1) / max((scale_of(run.cfg) - 1) / (USUAL - 1), 1)


def no_speedup(run: Run, intent: str) -> str:
    """Return why every step of a run is computed for an intent, and what else a user may do."""
    least, others = (
        min(row.steps for row in rows()),
        [name for name in INTENTS if measured_speedup(run, name) > 1],
    )
    instead = f"Choose '{others[0]}', or set" if others else "Set"
    if run.num_steps < least:
        why = f"for fewer than {least} steps nothing was measured"
    elif run.sampler_class is SamplerClass.UNKNOWN:
        why = f"the sampler '{run.sampler}' is of no kind that was measured"
    else:
        why = f"with this sampler and guidance no speedup that was measured keeps pictures as near as '{intent}' asks for"
    return f"Step List computes every step of this run: {why}. {instead} 'speedup' to leave steps out nevertheless."

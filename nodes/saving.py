"""What the nodes that sample a MODEL and save a file have in common: widgets, and what they hand out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..cache_core import Artefact, Chart
from .chart_picture import draw
from .uncached import SAMPLERS, SCHEDULERS

SAME = "As you will sample."


def sampling_inputs(least: int, most: int, about_steps: str) -> list[Any]:
    """Return the widgets of a KSampler that are the same in all of these nodes.

    Args:
        least: Fewest steps.
        most: Most steps.
        about_steps: What the number of steps means for the file.
    """
    return [
        io.Int.Input("steps", default=20, min=least, max=most, tooltip=f"{SAME} {about_steps}"),
        io.Float.Input("cfg", default=1.0, min=0.0, max=100.0, step=0.1, tooltip=f"Guidance. {SAME}"),
        io.Combo.Input("sampler_name", options=list(SAMPLERS), default="euler", tooltip=SAME),
        io.Combo.Input("scheduler", options=list(SCHEDULERS), default="simple", tooltip=SAME),
    ]


def denoise_input() -> Any:
    """Return the widget for the share of the schedule that is sampled."""
    return io.Float.Input("denoise", default=1.0, min=0.01, max=1.0, step=0.01, advanced=True, tooltip=SAME)


def file_name_input(parts: str) -> Any:
    """Return the widget for the name of the file; `parts` says of what one is made where it is empty."""
    return io.String.Input(
        "file_name",
        default="",
        tooltip=f"Name of the file; empty for one made of {parts}. An existing file is never replaced: a number is added to the name.",
    )


def saved(
    cls: Any, path: Path, artefact: Artefact, charts: Sequence[Chart], text: str, facts: Sequence[str] = ()
) -> io.NodeOutput:
    """Return the name of the file, its charts as a picture, and the text; shown on the node too.

    Args:
        cls: The node.
        path: Where the file was saved.
        artefact: What is in it.
        charts: What was found, in pictures.
        text: What was found, in words; under the picture's title too.
        facts: Further lines, for the text alone.
    """
    whole = "\n".join([f"saved as {path.name}", text, *facts])
    picture = draw(charts, f"{path.name}: {artefact.describe()}", text)
    shown = ui.PreviewImage(picture, cls=cls).as_dict() | ui.PreviewText(whole).as_dict()
    return io.NodeOutput(path.name, picture, whole, ui=shown)

"""Tables of what the other models rest on: the autoencoders' round trips, and what the classifier can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from zoo.autoencoder import VAE_4CH, VAE_16CH
from zoo.sampling import load_vae

from ..accuracy import Findings, find_attributes
from ..classifier import load_classifier
from ..fidelity import psnr
from ..intervals import mean_interval
from ..labels import label_scenes
from ..observation import observe
from .cells import scene_of
from .measure import render_scenes
from .pages import spell

AUTOENCODERS = {"autoencoder": VAE_16CH, "autoencoder_4ch": VAE_4CH}
SIZES = (128, 192, 256)
_READ_SIZE = 192


@dataclass(frozen=True)
class Row:
    """PSNR in dB over all pictures: what was compared, mean, standard deviation, lowest."""

    label: str
    mean: float
    deviation: float
    low: float


def autoencoder_table(name: str, num_pictures: int) -> str:
    """PSNR of held-out pictures against their round trip through the host's VAE, as a Markdown table."""
    vae = load_vae(AUTOENCODERS[name])
    rows = [_round_trips(vae, render_scenes(range(num_pictures), size)) for size in SIZES]
    note = (
        f"{num_pictures} held-out scenes of generator seed 0; float32 on the CPU; decoded floats in [0, 1]. "
        f"Written by `python dev.py zoo evaluate {name}`."
    )
    return format_table("side (px)", rows, note)


def classifier_table(num_pictures: int) -> str:
    """What the classifier finds in held-out pictures, drawn and after each autoencoder's round trip."""
    pictures = render_scenes(range(num_pictures), _READ_SIZE)
    findings = {"as drawn": read_pictures(pictures)}
    for name, kind in AUTOENCODERS.items():
        findings[f"through {name}"] = read_pictures(_round_trip(load_vae(kind), pictures))
    note = (
        f"{num_pictures} held-out scenes of generator seed 0 at {_READ_SIZE} px; the last rows by kind of attribute. "
        "Written by `python dev.py zoo evaluate classifier`."
    )
    return findings_table(findings) + f"\n{note}\n"


def read_pictures(pictures: Tensor) -> Findings:
    """What the classifier finds in the pictures of scenes 0 to B - 1: (B, H, W, 3) in [0, 1]."""
    labels = label_scenes([scene_of(index) for index in range(len(pictures))])
    return find_attributes(observe(load_classifier(), pictures).reading, labels)


def findings_table(findings: Mapping[str, Findings]) -> str:
    """Caption accuracy, overall with its interval and by kind, a column for each set of pictures."""
    kinds = [found.by_kind() for found in findings.values()]
    overall = [spell(mean_interval(found.accuracy()), 3) for found in findings.values()]
    lines = [
        _line(["", *findings]),
        "|---" * (len(findings) + 1) + "|",
        _line(["caption accuracy", *overall]),
    ]
    lines += [_line([kind, *(f"{values[kind]:.3f}" for values in kinds)]) for kind in kinds[0]]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _round_trips(vae: Any, pictures: Tensor) -> Row:
    values = psnr(_round_trip(vae, pictures), pictures).numpy()
    label = str(pictures.shape[1])
    return Row(label, mean=float(np.mean(values)), deviation=float(np.std(values)), low=float(values.min()))


@torch.inference_mode()
def _round_trip(vae: Any, pictures: Tensor) -> Tensor:
    parts = [vae.decode(vae.encode(batch)).float().clamp(0.0, 1.0) for batch in torch.split(pictures, 16)]
    return torch.cat(parts)


def format_table(heading: str, rows: list[Row], note: str) -> str:
    """The rows as a Markdown table, with the conditions of the measurement beneath.

    Args:
        heading: Name of the label column.
        rows: What was measured.
        note: How it was measured.

    Returns:
        The text, ending in a newline.
    """
    lines = [f"| {heading} | PSNR mean (dB) | standard deviation | lowest |", "|---|---|---|---|"]
    lines += [f"| {row.label} | {row.mean:.2f} | {row.deviation:.2f} | {row.low:.2f} |" for row in rows]
    return "\n".join([*lines, "", note]) + "\n"

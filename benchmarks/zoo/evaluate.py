"""Measures the zoo and writes the tables in its model cards: `python -m zoo.evaluate {flux,autoencoder}`.

Flux: each picture is drawn with the host's stock loaders and Euler sampler, and compared by PSNR with the
picture that the same seed and caption give with more steps. Autoencoder: held-out pictures and their round trip.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio

from .rendering import render
from .sampling import Pipeline, Request, load_pipeline, load_vae, sample
from .scenes import caption, sample_scene

CARDS = Path(__file__).parent / "checkpoints"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PAIRS = ((6, 20), (8, 20), (10, 20), (14, 20), (8, 50), (10, 50), (20, 50))
CFGS = (1.0, 4.0)
SIZES = (128, 192, 256)
Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """PSNR in dB over all seeds or pictures: what was compared, mean, standard deviation, lowest."""

    label: str
    mean: float
    deviation: float
    low: float


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write it into the model card."""
    parser = argparse.ArgumentParser(prog="zoo.evaluate", description="Measure a model of the zoo by PSNR.")
    parser.add_argument("what", choices=("flux", "autoencoder"), nargs="?", default="flux")
    parser.add_argument("--seeds", type=int, default=16, help="number of seeds, each with a held-out caption")
    options = parser.parse_args(arguments)
    if options.what == "flux":
        table, card = flux_table(load_pipeline(), options.seeds), "zoo_flux.md"
    else:
        table, card = autoencoder_table(load_vae(), 2 * options.seeds), "zoo_vae_16ch.md"
    sys.stdout.write(table)
    write_block(CARDS / card, table)


def flux_table(pipeline: Pipeline, num_seeds: int) -> str:
    """PSNR of few steps against many, as a Markdown table; seed i draws held-out caption i."""
    rows = [row for cfg in CFGS for row in _compare_steps(pipeline, num_seeds, cfg)]
    note = (
        f"Seeds 0 to {num_seeds - 1}, seed i with held-out caption i of generator seed 0; 192 by 192 px; "
        "Euler, simple schedule; float32 on the CPU; decoded floats in [0, 1]. "
        "Written by `python -m zoo.evaluate flux`."
    )
    return format_table("steps | against | cfg", rows, note)


def autoencoder_table(vae: Any, num_pictures: int) -> str:
    """PSNR of held-out pictures against their round trip through the host's VAE, as a Markdown table."""
    rows = []
    for size in SIZES:
        pictures = [render(sample_scene(0, index, "held-out"), size) for index in range(num_pictures)]
        originals = [picture.astype(np.float32) / 255.0 for picture in pictures]
        rows.append(_summarise(str(size), [(_round_trip(vae, one), one) for one in originals]))
    note = (
        f"{num_pictures} held-out scenes of generator seed 0; float32 on the CPU; decoded floats in [0, 1]. "
        "Written by `python -m zoo.evaluate autoencoder`."
    )
    return format_table("side (px)", rows, note)


def _compare_steps(pipeline: Pipeline, num_seeds: int, cfg: float) -> list[Row]:
    pictures = {steps: _draw(pipeline, num_seeds, steps, cfg) for steps in sorted({*sum(PAIRS, ())})}
    return [
        _summarise(
            f"{steps} | {reference} | {cfg:g}",
            list(zip(pictures[steps], pictures[reference], strict=True)),
        )
        for steps, reference in PAIRS
    ]


def _draw(pipeline: Pipeline, num_seeds: int, steps: int, cfg: float) -> list[Picture]:
    requests = [
        Request(caption=caption(sample_scene(0, seed, "held-out")), seed=seed, steps=steps, cfg=cfg)
        for seed in range(num_seeds)
    ]
    return [sample(pipeline, request).clamp(0.0, 1.0).numpy() for request in requests]


@torch.inference_mode()
def _round_trip(vae: Any, picture: Picture) -> Picture:
    decoded: Picture = vae.decode(vae.encode(torch.from_numpy(picture)[None]))[0].clamp(0.0, 1.0).numpy()
    return decoded


def _summarise(label: str, pairs: list[tuple[Picture, Picture]]) -> Row:
    values = [_psnr(picture, reference) for picture, reference in pairs]
    return Row(label, mean=float(np.mean(values)), deviation=float(np.std(values)), low=min(values))


def _psnr(picture: Picture, reference: Picture) -> float:
    return float(peak_signal_noise_ratio(reference, picture, data_range=1.0))  # type: ignore[no-untyped-call]


def format_table(heading: str, rows: list[Row], note: str) -> str:
    """The rows as a Markdown table, with the conditions of the measurement beneath.

    Args:
        heading: Name of the label column; a label may span several, parted by bars.
        rows: What was measured.
        note: How it was measured.

    Returns:
        The text, ending in a newline.
    """
    num_labels = heading.count("|") + 1
    lines = [f"| {heading} | PSNR mean (dB) | standard deviation | lowest |", "|---" * (num_labels + 3) + "|"]
    lines += [f"| {row.label} | {row.mean:.2f} | {row.deviation:.2f} | {row.low:.2f} |" for row in rows]
    return "\n".join([*lines, "", note]) + "\n"


def write_block(path: Path, text: str) -> None:
    """Replace what stands between the markers of a Markdown file.

    Args:
        path: The file.
        text: The new content.

    Raises:
        ValueError: If the file lacks the markers.
    """
    content = path.read_text(encoding="utf-8")
    if BEGIN not in content or END not in content:
        raise ValueError(
            f'"{path.name}" lacks the lines "{BEGIN}" and "{END}"; put them where the table belongs'
        )
    head, tail = content.split(BEGIN)[0], content.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n{text}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()

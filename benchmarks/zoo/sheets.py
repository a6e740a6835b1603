"""Writes contact sheets and loss curves: `python -m zoo.sheets WHAT [--log CSV]`."""

from __future__ import annotations

import argparse
import csv
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .autoencoder import VAE_4CH, VAE_16CH, Autoencoder
from .rendering import render
from .sampling import RECIPES, Request, decode, load_pipeline, load_vae, sample_latents
from .scenes import caption, sample_scene

FOLDER = Path(__file__).parent
_SHEET_SIDE = 192
_MARGIN, _CAPTION_HEIGHT, _CAPTION_POINTS = 8, 84, 9
_AUTOENCODERS = {"autoencoder": VAE_16CH, "autoencoder_4ch": VAE_4CH}
_CHECKPOINTS = {
    **{name: kind.checkpoint.stem for name, kind in _AUTOENCODERS.items()},
    **{name: recipe.checkpoint.stem for name, recipe in RECIPES.items()},
}
Pixels = NDArray[np.uint8]


def main(arguments: list[str] | None = None) -> None:
    """Write the sheet and, for a trained model, its loss curve."""
    parser = argparse.ArgumentParser(prog="zoo.sheets", description="Write contact sheets and loss curves.")
    parser.add_argument("what", choices=("data", *_CHECKPOINTS))
    parser.add_argument("--log", type=Path, default=None, help="CSV loss log to draw as a curve")
    options = parser.parse_args(arguments)
    if options.what == "data":
        write_data_sheet(FOLDER / "docs" / "contact_sheet.png")
        return
    path = FOLDER / "checkpoints" / _CHECKPOINTS[options.what]
    if options.what in _AUTOENCODERS:
        write_autoencoder_sheet(_AUTOENCODERS[options.what], path.with_name(f"{path.name}_samples.png"))
    else:
        write_model_sheet(options.what, path.with_name(f"{path.name}_samples.png"))
    if options.log is not None:
        write_loss_curve(options.log, path.with_name(f"{path.name}_loss.png"))


def write_data_sheet(path: Path) -> None:
    """24 scenes of the generator with their captions."""
    scenes = [sample_scene(0, index) for index in range(24)]
    _write_grid(path, [(render(scene, _SHEET_SIDE), caption(scene)) for scene in scenes], columns=6)


def write_autoencoder_sheet(kind: Autoencoder, path: Path) -> None:
    """Held-out pictures beside their reconstruction through the host's VAE."""
    vae = load_vae(kind)
    cells = []
    for index in range(9):
        scene = sample_scene(0, index, "held-out")
        original = render(scene, _SHEET_SIDE)
        decoded = vae.decode(vae.encode(torch.from_numpy(original.copy())[None].float() / 255.0))[0]
        pair = np.concatenate([original, _to_pixels(decoded)], axis=1)
        cells.append((pair, f"left: original, right: decoded. {caption(scene)}"))
    _write_grid(path, cells, columns=3)


def write_model_sheet(name: str, path: Path) -> None:
    """Held-out captions drawn with 20 Euler steps at cfg 4."""
    pipeline = load_pipeline(name)
    captions = [caption(sample_scene(0, index, "held-out")) for index in range(12)]
    requests = [Request(caption=words, seed=index) for index, words in enumerate(captions)]
    pictures = _shrink(decode(pipeline, sample_latents(pipeline, requests)))
    _write_grid(
        path, [(_to_pixels(picture), words) for picture, words in zip(pictures, captions, strict=True)], 6
    )


def write_loss_curve(log: Path, path: Path) -> None:
    """Loss over minutes, from a CSV log of the training."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    minutes = [float(row["seconds"]) / 60.0 for row in rows]
    losses = [float(row["loss"]) for row in rows]
    figure, axes = pyplot.subplots(figsize=(6.0, 3.2))
    axes.plot(minutes, losses, linewidth=0.6, alpha=0.45, color="tab:blue", label="10 s mean")
    width = max(1, len(losses) // 40)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    axes.plot(minutes[width - 1 :], smooth, color="tab:blue", label=f"mean of {width}")
    axes.set(xlabel="minutes of training", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _shrink(pictures: torch.Tensor) -> torch.Tensor:
    """Bring (B, H, W, 3) pictures to the side that the sheet shows."""
    size = (_SHEET_SIDE, _SHEET_SIDE)
    planes = pictures.permute(0, 3, 1, 2)
    return torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def _to_pixels(picture: torch.Tensor) -> Pixels:
    return (picture.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()


def _write_grid(path: Path, cells: list[tuple[Pixels, str]], columns: int) -> None:
    """Lay out pictures with their captions beneath."""
    high, wide = cells[0][0].shape[:2]
    rows = -(-len(cells) // columns)
    cell_wide, cell_high = wide + _MARGIN, high + _CAPTION_HEIGHT + _MARGIN
    sheet = Image.new("RGB", (columns * cell_wide + _MARGIN, rows * cell_high + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _CAPTION_POINTS
    )
    for index, (pixels, words) in enumerate(cells):
        x, y = _MARGIN + index % columns * cell_wide, _MARGIN + index // columns * cell_high
        sheet.paste(Image.fromarray(pixels), (x, y))
        lines = textwrap.wrap(words, width=int(wide / 5.1))
        draw.multiline_text((x, y + high + 3), "\n".join(lines), fill="black", font=font, spacing=2)
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    main()

"""A small network that reads off a picture what its caption says, and whose features compare pictures.

Three stages of residual blocks see the picture at 32, 16 and 8 cells a side. Each head looks through windows
onto the last map: one at each of the nine places, one for each row of lettering, one over all. The windows
start as bells around the places and are learned. Residual blocks follow He et al. 2016 (arXiv:1603.05027).

B pictures, C channels, S sites of a head.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from zoo.vocabulary import POSITIONS, ROWS

from .labels import HEADS, SITES, Site

CHECKPOINT = Path(__file__).parent / "checkpoints" / "zoo_classifier.safetensors"
KIND = "zoo classifier 1"
SIZE = 128
"""Side in pixels at which pictures are read; others are resized to it."""
WIDTHS = (48, 96, 192)
NUM_BLOCKS = (1, 2, 2)
NUM_FEATURES = 64
_PATCH, _CELLS, _READ_WIDTH = 4, 8, 256
_SPREAD = 0.16
_PIXEL_MEAN, _PIXEL_DEVIATION = 0.5, 0.28


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(torch.relu(self.norm(x)))
        result: Tensor = x + self.second(torch.relu(hidden))
        return result


class Classifier(nn.Module):
    """The network; `forward` answers, `stages` gives the maps, `summarise` the vector for Frechet distances."""

    centre: Tensor
    projection: Tensor

    def __init__(self) -> None:
        """Fresh weights; the projection of `summarise` is set by `fit_projection` after training."""
        super().__init__()
        inputs = (3, *WIDTHS[:-1])
        strides = (_PATCH, 2, 2)
        self.entries = nn.ModuleList(
            nn.Conv2d(before, width, stride, stride)
            for before, width, stride in zip(inputs, WIDTHS, strides, strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(_Block(width) for _ in range(count)))
            for width, count in zip(WIDTHS, NUM_BLOCKS, strict=True)
        )
        self.norm = nn.GroupNorm(8, WIDTHS[-1])
        self.windows = nn.ParameterDict({site: nn.Parameter(_windows(site)) for site in SITES})
        self.readers = nn.ModuleDict({site: nn.Linear(_span(site), _READ_WIDTH) for site in SITES})
        self.heads = nn.ModuleDict({head.name: nn.Linear(_READ_WIDTH, len(head.words)) for head in HEADS})
        self.register_buffer("centre", torch.zeros(2 * WIDTHS[-1]))
        self.register_buffer("projection", torch.zeros(2 * WIDTHS[-1], NUM_FEATURES))

    def stages(self, pictures: Tensor) -> list[Tensor]:
        """Feature maps of pictures (B, 3, 128, 128) in [0, 1]: (B, 48, 32, 32), (B, 96, 16, 16), (B, 192, 8, 8)."""
        x = (pictures - _PIXEL_MEAN) / _PIXEL_DEVIATION
        maps = []
        for entry, blocks in zip(self.entries, self.blocks, strict=True):
            x = blocks(entry(x))
            maps.append(x)
        return maps

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Scores of every answer.

        Args:
            pictures: (B, 3, 128, 128) in [0, 1].

        Returns:
            Per head (B, S, answers), unnormalised.
        """
        return self.answer(self.stages(pictures)[-1])

    def answer(self, last: Tensor) -> dict[str, Tensor]:
        """Scores, as in `forward`, from the last feature map (B, 192, 8, 8)."""
        features = torch.relu(self.norm(last))
        seen = {site: torch.relu(self.readers[site](self._look(site, features))) for site in SITES}
        return {head.name: self.heads[head.name](seen[head.site]) for head in HEADS}

    def _look(self, site: Site, features: Tensor) -> Tensor:
        """What is seen through a site's windows: (B, S, `_span(site)`)."""
        if site == "row":  # the columns stay apart, so that letters can be told
            weights = self.windows[site].softmax(dim=1)  # (3, 8)
            return torch.einsum("bchw,sh->bscw", features, weights).flatten(2)
        weights = self.windows[site].flatten(1).softmax(dim=1)  # (S, 64)
        return torch.einsum("bcp,sp->bsc", features.flatten(2), weights)

    def summarise(self, last: Tensor) -> Tensor:
        """A fixed 64-wide summary for Frechet distances.

        Args:
            last: (B, 192, 8, 8), the last map of `stages`.

        Returns:
            (B, 64): principal components of the map's means and deviations per channel. Over the training
            pictures the variances sum to 1.
        """
        return (pooled(last) - self.centre) @ self.projection

    @torch.no_grad()
    def fit_projection(self, vectors: Tensor) -> None:
        """Fix the principal components of training pictures.

        Args:
            vectors: (N, 384) from `pooled`.
        """
        centred = vectors.double() - vectors.double().mean(dim=0)
        values, axes = torch.linalg.eigh(centred.T @ centred / (len(vectors) - 1))
        kept = values[-NUM_FEATURES:].flip(0)
        self.centre.copy_(vectors.double().mean(dim=0))
        self.projection.copy_(axes[:, -NUM_FEATURES:].flip(1) / kept.sum().sqrt())


def pooled(last: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the map: (B, C, h, w) to (B, 2 C)."""
    flat = last.float().flatten(2)
    return torch.cat([flat.mean(dim=2), flat.std(dim=2)], dim=1)


def _span(site: Site) -> int:
    return WIDTHS[-1] * (_CELLS if site == "row" else 1)


def _windows(site: Site) -> Tensor:
    """Starting logits of a site's windows: bells around where it is, or flat over the whole picture."""
    axis = (torch.arange(_CELLS) + 0.5) / _CELLS
    if site == "picture":
        return torch.zeros(1, _CELLS, _CELLS)
    if site == "row":
        return torch.stack([-((axis - y) / _SPREAD).square() / 2.0 for y in ROWS.values()])
    bells = [(axis[None, :] - x).square() + (axis[:, None] - y).square() for x, y in POSITIONS.values()]
    return -torch.stack(bells) / (2.0 * _SPREAD**2)


def load_classifier(path: Path = CHECKPOINT) -> Classifier:
    """The trained classifier in float32, in evaluation mode.

    Args:
        path: A file written by `python dev.py zoo train classifier`.

    Raises:
        ValueError: If the file is missing, damaged, or not such a file.
    """
    model = Classifier()
    tensors = _read_tensors(path)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    if got != expected:
        wrong = sorted(name for name in {*got, *expected} if got.get(name) != expected.get(name))
        raise ValueError(_refusal(path, f"tensors that differ in name or shape: {', '.join(wrong[:4])}"))
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError(_refusal(path, "values that are not finite"))
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model.eval().requires_grad_(False)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(_refusal(path, "no file"))
    try:
        with safe_open(path, framework="pt") as file:
            kind = (file.metadata() or {}).get("kind")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(_refusal(path, f"a file that is damaged or of another format ({error})")) from error
    if kind != KIND:
        raise ValueError(_refusal(path, f"a file of kind {json.dumps(kind)}"))
    return tensors


def _refusal(path: Path, got: str) -> str:
    return (
        f'classifier: "{path.name}" gives {got}; expected the zoo\'s classifier (kind "{KIND}"); restore it from '
        "the repository, or write it again with `python dev.py zoo train classifier`"
    )

"""One training loop for every model of the zoo: time budget, progress line, CSV log, resumable state."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

_LOG_SECONDS = 10.0
_SAVE_SECONDS = 120.0
_FIELDS = ("step", "seconds", "images", "loss", "images_per_second")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line fixes: budget in minutes, seed, folder of logs and states, whether to resume."""

    minutes: float
    seed: int
    work: Path
    resume: bool


class Task(Protocol):
    """A model in training."""

    name: str

    def advance(self, step: int, progress: float) -> tuple[float, int]:
        """Make one optimiser step at `progress` in [0, 1) of the budget; give loss and number of images."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs: tensors and numbers only."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state given by `state`."""
        ...


@dataclass
class _Totals:
    step: int = 0
    seconds: float = 0.0
    images: int = 0


def run_training(task: Task, settings: Settings) -> Path:
    """Train until the budget is spent, then write the last state.

    Args:
        task: What to train.
        settings: Budget, seed, work folder.

    Returns:
        Path of the CSV loss log.
    """
    settings.work.mkdir(parents=True, exist_ok=True)
    log_path = settings.work / f"{task.name}_loss.csv"
    totals = _resume(task, settings) if settings.resume else _Totals()
    _start_log(log_path, totals.step)
    budget = settings.minutes * 60.0
    losses: list[float] = []
    logged = saved = totals.seconds
    mark_images = totals.images
    while totals.seconds < budget:
        started = time.perf_counter()
        loss, images = task.advance(totals.step, totals.seconds / budget)
        totals.step, totals.images = totals.step + 1, totals.images + images
        totals.seconds += time.perf_counter() - started
        losses.append(loss)
        if totals.seconds - logged >= _LOG_SECONDS:
            rate = (totals.images - mark_images) / (totals.seconds - logged)
            _report(task.name, log_path, totals, sum(losses) / len(losses), rate, budget)
            losses, logged, mark_images = [], totals.seconds, totals.images
        if totals.seconds - saved >= _SAVE_SECONDS:
            _save(task, settings, totals)
            saved = totals.seconds
    _save(task, settings, totals)
    return log_path


def _report(name: str, path: Path, totals: _Totals, loss: float, rate: float, budget: float) -> None:
    _write_row(path, (totals.step, round(totals.seconds, 1), totals.images, f"{loss:.5f}", f"{rate:.1f}"))
    left = max(0.0, budget - totals.seconds) / 60.0
    line = f"{name}  step {totals.step}  loss {loss:.4f}  {rate:.1f} images/s  {left:.1f} min left\n"
    sys.stdout.write(line)
    sys.stdout.flush()


def _write_row(path: Path, row: tuple[object, ...]) -> None:
    with path.open("a", newline="", encoding="ascii") as file:
        csv.writer(file).writerow(row)


def _start_log(path: Path, step: int) -> None:
    """Begin a log, or cut an earlier one back to the step that a resumed run starts from."""
    rows: list[list[str]] = []
    if step and path.is_file():
        with path.open(newline="", encoding="ascii") as file:
            rows = [row for row in list(csv.reader(file))[1:] if int(row[0]) <= step]
    with path.open("w", newline="", encoding="ascii") as file:
        csv.writer(file).writerows([_FIELDS, *rows])


def _state_path(task: Task, settings: Settings) -> Path:
    return settings.work / f"{task.name}_state.pt"


def _save(task: Task, settings: Settings, totals: _Totals) -> None:
    path = _state_path(task, settings)
    record = {"task": task.state(), "step": totals.step, "seconds": totals.seconds, "images": totals.images}
    torch.save(record, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def _resume(task: Task, settings: Settings) -> _Totals:
    path = _state_path(task, settings)
    if not path.is_file():
        raise FileNotFoundError(
            f'zoo: --resume found no "{path.name}" in the work folder; expected the state of an earlier run; '
            "start without --resume, or point --work to the folder of that run"
        )
    record = torch.load(path, map_location="cpu", weights_only=True)
    task.restore(record["task"])
    return _Totals(step=record["step"], seconds=record["seconds"], images=record["images"])


def write_checkpoint(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write tensors in half precision, and what the file says of itself, as a safetensors file for all to read."""
    halves = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, path, metadata={"format": "pt", **metadata})
    # safetensors creates its file readable by the owner only.
    path.chmod(0o644)


def initialise(model: nn.Module) -> None:
    """Give the host's layers PyTorch's own initial weights, which its layer classes leave out."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.Linear.reset_parameters(module)
        elif isinstance(module, nn.Conv2d):
            nn.Conv2d.reset_parameters(module)


class Workers:
    """Computes gradients of several shares of a batch at once, one single-threaded worker each.

    Splitting the batch over threads of Python needs one rendezvous per step instead of one per operation,
    which keeps a shared machine busy where PyTorch's own threads would wait for each other.
    """

    def __init__(self, model: nn.Module, count: int) -> None:
        """Serve `count` workers on the trainable parameters of `model`."""
        torch.set_num_threads(1)
        self.count = count
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._pool = ThreadPoolExecutor(count)

    def differentiate(self, shares: Sequence[Callable[[], Tensor]]) -> float:
        """Set every parameter's `grad` to that of the mean of the losses, summed in a fixed order.

        Args:
            shares: One function per share of the batch, each giving its () loss.

        Returns:
            The mean loss.
        """
        results = list(self._pool.map(self._differentiate_one, shares))
        totals = [gradient / len(results) for gradient in results[0][1]]
        for _, gradients in results[1:]:
            torch._foreach_add_(totals, gradients, alpha=1.0 / len(results))
        for parameter, total in zip(self.parameters, totals, strict=True):
            parameter.grad = total
        return sum(loss for loss, _ in results) / len(results)

    def step(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Let optimisers of different parameters make their steps at once."""
        list(self._pool.map(_step_one, optimizers))

    def _differentiate_one(self, share: Callable[[], Tensor]) -> tuple[float, list[Tensor]]:
        torch.set_num_threads(1)
        loss = share()
        return float(loss.detach()), list(torch.autograd.grad(loss, self.parameters))


def _step_one(optimizer: torch.optim.Optimizer) -> None:
    torch.set_num_threads(1)
    optimizer.step()


class Average:
    """Exponential moving average of a model's parameters, corrected for its start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's parameters; `decay` per step in [0, 1)."""
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's parameters; early steps move faster."""
        weight = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        names, values = zip(*model.named_parameters(), strict=True)
        torch._foreach_lerp_([self.tensors[name] for name in names], list(values), weight)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over stored averages."""
        self.tensors = {name: value.clone() for name, value in tensors.items()}


def warmup_cosine(step: int, progress: float, warmup_steps: int) -> float:
    """Factor on the learning rate: linear at first, then a cosine over the time budget down to 2 percent.

    Args:
        step: Optimiser steps made.
        progress: Share of the time budget spent, in [0, 1).
        warmup_steps: Length of the rise.

    Returns:
        Factor in (0, 1].
    """
    rise = min(1.0, (step + 1) / warmup_steps)
    decay = 0.5 * (1.0 + float(torch.cos(torch.tensor(progress * torch.pi))))
    return rise * (0.02 + 0.98 * decay)

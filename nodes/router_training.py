"""Sets up a training on a MODEL, runs it and saves what comes of it: what the node and the command share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..cache_core import (
    Artefact,
    CacheConflictError,
    CacheError,
    Chart,
    Config,
    Extent,
    Sampling,
    unused_path,
    write_artefact,
)
from ..cache_core.artefact import Scalar
from ..cache_core.training.memory import needed_bytes
from ..cache_core.training.method import TRAININGS, Lesson, Training
from ..cache_core.training.trainer import Progress, Saving, Trainer, artefact_of
from ..cache_core.training.trajectory import Draws
from .digests import digest_of, patches_digest, weights_digest
from .host import adapter_of, find_binding
from .memory_text import megabytes
from .trajectory import HostTrajectory, free_bytes
from .uncached import Conditioning, KSamplerSettings, fitting

SUFFIX = ".training"
"""Of the file in which a training waits to be gone on with."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A training as it was asked for.

    Attributes:
        model: A MODEL without a cache.
        prompts: One conditioning for every prompt.
        negative: The negative prompt of all.
        latent: A LATENT: size, and pictures per sampling and process.
        clean: A LATENT of clean pictures, or None.
        settings: Of the KSampler.
        method: Name of the training.
        config: Its settings.
        iterations: Iterations of the whole training.
        seed: Seed of router, noise and everything else.
        folder: Where the file goes.
        name: Name of the file; empty for one made of the settings.
        save_every: Iterations between two times of saving.
        recompute: Whether the backward pass runs every block again.
        rank: Number of this process.
        world: Number of processes.
    """

    model: Any
    prompts: Sequence[Conditioning]
    negative: Conditioning
    latent: dict[str, Any]
    clean: dict[str, Any] | None
    settings: KSamplerSettings
    method: str
    config: Config
    iterations: int
    seed: int
    folder: Path
    name: str = ""
    save_every: int = 50
    recompute: bool = True
    rank: int = 0
    world: int = 1

    @property
    def file_name(self) -> str:
        """Name of the file, without a suffix."""
        made = self.settings
        own = f"{self.method}_{adapter_of(self.model).name}_{made.steps}_{made.sampler}_{made.scheduler}"
        return self.name.strip().removesuffix(".safetensors") or own


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a training.

    Attributes:
        path: The file, or None in a process that does not write it.
        artefact: What it holds.
        charts: What to show.
        text: What to tell, one fact per line.
    """

    path: Path | None
    artefact: Artefact
    charts: tuple[Chart, ...]
    text: str


def train(
    order: Order,
    on_progress: Callable[[Progress, Trainer], None],
    on_part: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train to the end and save the artefact; a training of the same name that was cut short is gone on with.

    Args:
        order: What is to be trained.
        on_progress: Called after every iteration.
        on_part: Called within a long iteration, with a line for people.

    Raises:
        CacheError: If the model is not supported or cached, carries no gradients or is too large, or the settings mean nothing.
    """
    if find_binding(order.model) is not None:
        raise CacheConflictError(
            "This MODEL carries a cache, and a router is trained on the plain model. Feed the trainer from before the cache "
            "node."
        )
    unused_path(order.folder, order.file_name)
    # Nodes run in inference mode, in which nothing is recorded for a backward pass.
    with torch.inference_mode(False):
        training = _training(order)
        trainer = Trainer(training, order.iterations, _identity(order, training), _saving(order))
        trainer.run(lambda progress: on_progress(progress, trainer), on_part)
        return _finished(order, trainer)


def _training(order: Order) -> Training:
    trajectory = HostTrajectory(
        order.model, order.settings, order.prompts, order.negative, order.latent, order.clean
    )
    batch = len(order.latent["samples"])
    draws = Draws(
        seed=order.seed, batch=batch, num_prompts=trajectory.num_prompts, rank=order.rank, world=order.world
    )
    lesson = Lesson(
        adapter=adapter_of(order.model),
        trajectory=trajectory,
        draws=draws,
        device=torch.device(order.model.load_device),
        dtype=order.model.model.get_dtype_inference(),
        recompute=order.recompute,
    )
    training = TRAININGS[order.method](order.config, lesson)
    _require_room(order, training)
    return training


def foreseen_bytes(order: Order, training: Training) -> int:
    """Return the bytes that a training is expected to take beside the weights."""
    lesson = training.lesson
    extent = Extent(
        latent=tuple(fitting(order.model, order.latent).shape),
        text=max(cond[0].shape[1] for prompt in order.prompts for cond in prompt),
        dtype=lesson.dtype,
    )
    extents = [extent] * (1 if order.settings.cfg == 1.0 else 2)
    return needed_bytes(
        lesson.adapter, training.level, extents, training.holdings(), recompute=order.recompute
    )


def _require_room(order: Order, training: Training) -> None:
    """Refuse a training that will not fit.

    Raises:
        CacheError: If it needs more than the device has; the text says how much.
    """
    needed, free = foreseen_bytes(order, training), free_bytes(order.model)
    if needed > free:
        raise CacheError(
            f"Training needs about {megabytes(needed)} on '{order.model.load_device}' beside the weights, and about "
            f"{megabytes(free)} are there. Use a smaller picture, a batch of 1 or cfg 1"
            f"{'' if order.recompute else ', or turn recompute_blocks on'}."
        )


def _identity(order: Order, training: Training) -> Mapping[str, Any]:
    """Return what a saved training must have been made with to be gone on with."""
    return {
        "method": order.method,
        "settings": training.config.describe(),
        "family": training.lesson.adapter.name,
        "sites": len(training.sites),
        "weights": weights_digest(order.model),
        "LoRAs": patches_digest(order.model),
        "sampling": str(_sampling(order, training)),
        "sigmas": list(training.lesson.trajectory.run.sigmas),
        "batch": training.lesson.draws.batch * order.world,
        "prompts": f"{len(order.prompts)} ({digest_of(order.prompts)})",
        "negative prompt": digest_of(order.negative),
        "clean pictures": None if order.clean is None else digest_of(order.clean["samples"]),
        "seed": order.seed,
    }


def _sampling(order: Order, training: Training) -> Sampling:
    run = training.lesson.trajectory.run
    return Sampling(
        num_steps=run.num_steps,
        sigmas=run.sigmas,
        sampler=run.sampler,
        scheduler=order.settings.scheduler,
        cfg=order.settings.cfg,
        size=run.size,
    )


def _saving(order: Order) -> Saving:
    path = order.folder / f"{order.file_name}{SUFFIX}"
    return Saving(path=path, every=order.save_every, writes=order.rank == 0)


def _finished(order: Order, trainer: Trainer) -> Trained:
    outcome, training = trainer.outcome(), trainer.training
    last = trainer.history[-1]
    made: dict[str, Scalar] = {
        "source": training.source,
        "iterations": order.iterations,
        "loss": last.loss,
        "seed": order.seed,
        "num_prompts": len(order.prompts),
        "batch": training.lesson.draws.batch * order.world,
        "states": "clean pictures" if training.lesson.trajectory.has_clean else "own samplings",
    }
    artefact = artefact_of(outcome, training, made, _sampling(order, training))
    path = None
    if order.rank == 0:
        path = unused_path(order.folder, order.file_name)
        write_artefact(artefact, path)
        trainer.forget()
    seconds = [progress.seconds for progress in trainer.history]
    text = "\n".join(
        [
            outcome.text,
            f"loss {trainer.history[0].loss:.3g} at first, {last.loss:.3g} at last",
            f"{order.iterations} iterations, {sum(seconds):.0f} s, {sum(seconds) / len(seconds):.2f} s each",
        ]
    )
    return Trained(path=path, artefact=artefact, charts=(*outcome.charts, *trainer.charts()), text=text)

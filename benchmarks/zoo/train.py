"""Command line: `python -m zoo.train {autoencoder,decoder,flux} [--minutes M] [--seed S] [--work DIR] [--resume]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .training import Settings, run_training

DEFAULT_WORK = Path.home() / ".cache" / "feature_cache_zoo"
_DEFAULT_MINUTES = {"autoencoder": 27.0, "decoder": 20.0, "flux": 50.0}


def main(arguments: list[str] | None = None) -> None:
    """Train one model of the zoo and write its checkpoint."""
    options = _parser().parse_args(arguments)
    minutes = _DEFAULT_MINUTES[options.model] if options.minutes is None else options.minutes
    settings = Settings(minutes=minutes, seed=options.seed, work=options.work, resume=options.resume)
    _TRAINERS[options.model](settings, options.threads)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zoo.train", description="Train a tiny model on the procedural pictures."
    )
    parser.add_argument("model", choices=sorted(_DEFAULT_MINUTES))
    parser.add_argument("--minutes", type=float, default=None, help="time budget of the optimisation")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, data order and noise")
    parser.add_argument(
        "--work", type=Path, default=DEFAULT_WORK, help="folder for logs, states and cached latents"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="CPU threads, each with its share of every batch"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the state in the work folder")
    return parser


def _train_autoencoder(settings: Settings, num_workers: int) -> None:
    from .autoencoder import CHECKPOINT, AutoencoderTask

    task = AutoencoderTask(settings.seed, num_workers)
    run_training(task, settings)
    task.export(CHECKPOINT)


def _train_decoder(settings: Settings, num_workers: int) -> None:
    from .autoencoder import CHECKPOINT, DecoderTask

    task = DecoderTask(settings.seed, num_workers)
    run_training(task, settings)
    task.export(CHECKPOINT)


def _train_flux(settings: Settings, num_workers: int) -> None:
    from .flux import CHECKPOINT, FluxTask

    task = FluxTask(settings.seed, num_workers, settings.work)
    run_training(task, settings)
    task.export(CHECKPOINT)


_TRAINERS = {"autoencoder": _train_autoencoder, "decoder": _train_decoder, "flux": _train_flux}

if __name__ == "__main__":
    main()

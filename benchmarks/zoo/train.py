"""Command line: `python -m zoo.train MODEL [--minutes M] [--seed S] [--work DIR] [--resume]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .training import Settings, run_training

DEFAULT_WORK = Path.home() / ".cache" / "feature_cache_zoo"
_AUTOENCODER_MINUTES = {"autoencoder": 27.0, "autoencoder_4ch": 20.0, "decoder": 20.0}
_DIFFUSION_MINUTES = {"flux": 50.0, "sd3": 50.0, "pixart": 130.0}
_CLASSIFIER_MINUTES = {"classifier": 20.0}
_MINUTES = {**_AUTOENCODER_MINUTES, **_DIFFUSION_MINUTES, **_CLASSIFIER_MINUTES}


def main(arguments: list[str] | None = None) -> None:
    """Train one model of the zoo and write its checkpoint."""
    options = _parser().parse_args(arguments)
    minutes = _MINUTES[options.model] if options.minutes is None else options.minutes
    settings = Settings(minutes=minutes, seed=options.seed, work=options.work, resume=options.resume)
    if options.model in _CLASSIFIER_MINUTES:
        _train_classifier(settings, options)
    elif options.model in _DIFFUSION_MINUTES:
        _train_diffusion(settings, options)
    else:
        _train_autoencoder(settings, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zoo.train", description="Train a tiny model on the procedural pictures."
    )
    parser.add_argument("model", choices=tuple(_MINUTES))
    parser.add_argument("--minutes", type=float, default=None, help="time budget of the optimisation")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, data order and noise")
    parser.add_argument(
        "--work", type=Path, default=DEFAULT_WORK, help="folder for logs, states and cached latents"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="CPU threads, each with its share of every batch"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the state in the work folder")
    parser.add_argument(
        "--further", action="store_true", help="train a diffusion model of the checkpoints on"
    )
    parser.add_argument(
        "--output", type=Path, default=None, help="write the model elsewhere (not for autoencoders)"
    )
    return parser


def _train_autoencoder(settings: Settings, options: argparse.Namespace) -> None:
    from .autoencoder import AutoencoderTask, DecoderTask, NarrowAutoencoderTask

    kinds = (AutoencoderTask, NarrowAutoencoderTask, DecoderTask)
    [kind] = [kind for kind in kinds if kind.name == options.model]
    task = kind(settings.seed, options.threads)
    run_training(task, settings)
    task.export()


def _train_classifier(settings: Settings, options: argparse.Namespace) -> None:
    from metrics.classifier import CHECKPOINT
    from metrics.training import ClassifierTask

    task = ClassifierTask(settings.seed, options.threads, settings.work)
    run_training(task, settings)
    task.export(options.output or CHECKPOINT)


def _train_diffusion(settings: Settings, options: argparse.Namespace) -> None:
    from .diffusion import DiffusionTask, last_stage_only
    from .sampling import RECIPES

    recipe = last_stage_only(RECIPES[options.model]) if options.further else RECIPES[options.model]
    task = DiffusionTask(recipe, settings.seed, options.threads, settings.work)
    if options.further:
        task.start_from(recipe.checkpoint)
    run_training(task, settings)
    task.export(options.output or recipe.checkpoint)


if __name__ == "__main__":
    main()

"""Trains a router without a server: `python dev.py train-router -- --model zoo:flux --prompts prompts.txt`.

The model, its prompts and the sampling are ComfyUI's own, the training is what the node CacheRouterTrainer runs; the file
goes to `--folder`. A training that was stopped or killed goes on when it is started again with the same arguments. On several devices:
`python dev.py train-router --processes 8 -- ...`, or this file under `torchrun`; every process samples pictures of its own, and
all hold the same router.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from zoo.host import prepare_host

ROOT = Path(__file__).resolve().parent.parent
ZOO = "zoo:"


class ArgumentError(ValueError):
    """The command line asks for something that is not there."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    made = argparse.ArgumentParser(prog="dev.py train-router", description=__doc__)
    made.add_argument(
        "--model", required=True, help="file of a diffusion model, or zoo:flux, zoo:sd3, zoo:pixart"
    )
    made.add_argument(
        "--text-encoder", action="append", default=[], metavar="FILE", help="once per file; not for the zoo"
    )
    made.add_argument(
        "--text-encoder-type", default="flux", help="as ComfyUI's loader calls it: flux, sd3, pixart..."
    )
    made.add_argument("--prompts", type=Path, required=True, help="text file with a prompt per line")
    made.add_argument("--negative", default="", help="negative prompt")
    made.add_argument("--guidance", type=float, help="distilled guidance of Flux")
    made.add_argument(
        "--method", default="harmonica", help="what to train: harmonica, learning_to_cache, scale_shift"
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the method, such as refresh_ratio=0.6 or speedup=1.5",
    )
    made.add_argument("--profile", type=Path, help="change profile for scale_shift")
    made.add_argument(
        "--latents", type=Path, help="clean pictures for learning_to_cache, as Save Latent writes them"
    )
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--cfg", type=float, default=1.0)
    made.add_argument("--sampler", default="euler")
    made.add_argument("--scheduler", default="simple")
    made.add_argument("--width", type=int, default=1024)
    made.add_argument("--height", type=int, default=1024)
    made.add_argument("--batch", type=int, default=1, help="pictures at a time in each process")
    made.add_argument("--iterations", type=int, default=1000)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--save-every", type=int, default=50, help="iterations between two times of saving")
    made.add_argument(
        "--keep-activations", action="store_true", help="faster, for models that leave the memory"
    )
    made.add_argument(
        "--folder", type=Path, required=True, help="where the file goes, and the training while it lasts"
    )
    made.add_argument(
        "--name", default="", help="name of the file; made of the settings where it is left out"
    )
    made.add_argument("--log", type=Path, help="CSV file with a row per iteration")
    return made


def load_pack() -> Callable[[str], ModuleType]:
    """Load the pack as ComfyUI does, and return what finds its modules, such as `nodes.router_training`."""
    prepare_host()
    import comfy.model_management  # noqa: F401 - chooses the device, before the nodes are loaded

    import nodes

    before = set(nodes.NODE_CLASS_MAPPINGS)
    if not asyncio.run(nodes.load_custom_node(str(ROOT))):
        raise ArgumentError("ComfyUI could not load the pack; its messages above say why")
    found = next(cls for name, cls in nodes.NODE_CLASS_MAPPINGS.items() if name not in before)
    pack = found.__module__.rsplit(".nodes", 1)[0]
    return lambda name: importlib.import_module(f"{pack}.{name}")


def load_model(given: argparse.Namespace) -> tuple[Any, Callable[[str], list[Any]]]:
    """Return the MODEL and what makes a conditioning of a prompt."""
    if given.model.startswith(ZOO):
        from zoo.sampling import condition, load_pipeline

        return load_pipeline(given.model.removeprefix(ZOO)).model, lambda text: condition([text])
    import comfy.sd

    if not given.text_encoder:
        raise ArgumentError(
            f"'--model {given.model}' needs its text encoders: give every file with '--text-encoder'"
        )
    kind = getattr(comfy.sd.CLIPType, given.text_encoder_type.upper(), None)
    if kind is None:
        known = ", ".join(item.name.lower() for item in comfy.sd.CLIPType)
        raise ArgumentError(f"'--text-encoder-type' is '{given.text_encoder_type}', expected one of {known}")
    clip = comfy.sd.load_clip(ckpt_paths=given.text_encoder, clip_type=kind)
    return comfy.sd.load_diffusion_model(given.model), lambda text: clip.encode_from_tokens_scheduled(
        clip.tokenize(text)
    )


def conditionings(given: argparse.Namespace, encode: Callable[[str], list[Any]]) -> list[list[Any]]:
    """Return one conditioning per line of the prompts' file."""
    lines = [line.strip() for line in given.prompts.read_text(encoding="utf-8").splitlines()]
    prompts = [encode(line) for line in lines if line]
    if not prompts:
        raise ArgumentError(f"'--prompts {given.prompts}' holds no prompt: write one per line")
    if given.guidance is not None:
        import node_helpers

        values = {"guidance": given.guidance}
        prompts = [node_helpers.conditioning_set_values(prompt, values) for prompt in prompts]
    return prompts


def settings_of(given: argparse.Namespace, config_type: Any) -> dict[str, Any]:
    """Return the values of `--set` in the types of the method's own settings."""
    defaults = {item.name: item.default for item, details in config_type.settings() if not details.kinds}
    values = {}
    for text in given.set:
        name, _, value = text.partition("=")
        if name not in defaults:
            raise ArgumentError(f"'--set {text}' names no setting of '{given.method}': {', '.join(defaults)}")
        try:
            values[name] = type(defaults[name])(value)
        except ValueError as fault:
            raise ArgumentError(f"'--set {text}' is no {type(defaults[name]).__name__}") from fault
    return values


def make_order(given: argparse.Namespace, module: Callable[[str], ModuleType]) -> Any:
    """Return the order that the command line means, for the node's own training."""
    core = module("cache_core")
    config_type = core.TRAININGS[given.method].config_type
    model, encode = load_model(given)
    held = {}
    if given.profile is not None:
        held["profile"] = core.load_artefact(given.profile, module("nodes.host").adapter_of(model))
    # A batch of empty pictures; the host gives them as many channels as the model has.
    latent = {"samples": torch.zeros(given.batch, 4, given.height // 8, given.width // 8)}
    return module("nodes.router_training").Order(
        model=model,
        prompts=conditionings(given, encode),
        negative=encode(given.negative),
        latent=latent,
        clean=None if given.latents is None else _latents(given.latents),
        settings=module("nodes.uncached").KSamplerSettings(
            steps=given.steps, cfg=given.cfg, sampler=given.sampler, scheduler=given.scheduler
        ),
        method=given.method,
        config=config_type(**settings_of(given, config_type), **held),
        iterations=given.iterations,
        seed=given.seed,
        folder=given.folder,
        name=given.name,
        save_every=given.save_every,
        recompute=not given.keep_activations,
        rank=int(os.environ.get("RANK", "0")),
        world=int(os.environ.get("WORLD_SIZE", "1")),
    )


def _latents(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {"samples": load_file(path)["latent_tensor"].float()}


class Log:
    """Prints a line per iteration and writes it as a row; only in the first process."""

    def __init__(self, path: Path | None, rank: int) -> None:
        """Begin anew at `path`, or write no file."""
        self._path, self._rank, self._is_begun = path, rank, False

    def tell(self, line: str) -> None:
        """Print what is being done within an iteration."""
        if not self._rank:
            print(line, flush=True)

    def __call__(self, progress: Any, trainer: Any) -> None:
        """Add a row; the first time since the start, write all anew: a killed training goes on from before its last rows."""
        if self._rank:
            return
        print(progress, flush=True)
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_new, self._is_begun = not self._is_begun, True
        rows = trainer.history if is_new else trainer.history[-1:]
        with self._path.open("w" if is_new else "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["iteration", "loss", "seconds", *progress.figures])
            writer.writerows([[p.iteration, p.loss, p.seconds, *p.figures.values()] for p in rows])


def join(world: int) -> None:
    """Join the other processes of torchrun, each with a device of its own."""
    if world < 2:
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit status."""
    given, world = parser().parse_args(arguments), int(os.environ.get("WORLD_SIZE", "1"))
    join(world)
    try:
        module = load_pack()
        order = make_order(given, module)
        training = module("nodes.router_training")
        log = Log(given.log, order.rank)
        done = training.train(order, log, log.tell)
        if done.path is not None:
            print(f"saved as {done.path}\n{done.text}")
            picture = module("nodes.chart_picture")
            drawn = picture.draw(done.charts, f"{done.path.name}: {done.artefact.describe()}", done.text)
            picture.image_of(drawn).save(done.path.with_suffix(".png"))
    except KeyboardInterrupt:
        print("\nstopped and saved; the same command goes on with it", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"\nNot trained: {error}", file=sys.stderr)
        return 1
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    import signal

    # As after Ctrl-C, so that what stands is saved.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())

"""Speed at full size: `python dev.py bench gpu`.

FLUX.1-dev, SD3.5-large and PixArt-Sigma in ComfyUI's own classes and through its own sampler, with random weights in bfloat16 at
1024 x 1024: 20 Euler steps, at the guidance that each is used with. Every cache is sampled between uncached pictures in the same
process, after a picture that warms it up; calls are timed by events on the device. It needs a CUDA device and skips itself without
one. `--device cpu` measures three blocks of each at `--width` in float32 instead, the same way. An interrupted run goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from fullsize.networks import load, num_operations, num_parameters
from fullsize.pages import Study, losses_table, merged, read_studies, table, verdict, write
from fullsize.presets import PRESETS, Preset
from fullsize.rounds import Records, Rounds, num_pictures
from fullsize.rows import compiled_rows, rows
from fullsize.sampling import Bench
from metrics.study.store import fingerprint
from overhead_networks import FULL, Recipe, small
from quality.code import sum_of
from quality.engine import ROOT, load_engine
from quality.timing import CLOCKS
from zoo.host import prepare_host

RESULTS = ROOT / "docs" / "results"
WORK = Path.home() / ".cache" / "feature_cache_zoo" / "gpu"
SKIPPED = (
    "bench gpu: skipped, there is no CUDA device here (torch {}); nothing was measured or written. "
    "`--device cpu` measures narrow networks on the CPU."
)
_ROOM = 1.25
"""Memory that a network needs, over that of its weights."""
_SIDES = {"cuda": 8192, "cpu": 1024}
_HOPED = 0.5
"""Part of a matrix product's speed that a network reaches, for estimates."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    options = read_options(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(SKIPPED.format(torch.__version__))
        return 0
    prepare(options)
    recipes, presets = chosen(options)
    ways = {"without": [""], "with": [options.backend], "both": ["", options.backend]}[options.compile]
    print(estimate(recipes, presets, len(ways), options), flush=True)
    deadline = time.monotonic() + 60 * options.minutes
    for recipe in recipes:
        measure(recipe, presets, ways, options, deadline)
    found = list(studies(recipes, options))
    print("", table(found), "", losses_table(found), "", verdict(found) if found else "", sep="\n")
    if found and not options.no_write:
        about = inspect.cleandoc(__doc__ or "")
        write(options.results, merged(read_studies(options.results / "gpu.json"), found), about)
    return 0


def prepare(options: argparse.Namespace) -> None:
    """Make the host importable, on the device that is asked for."""
    torch.set_num_threads(options.threads)
    prepare_host()
    if "comfy.model_management" not in sys.modules and options.device == "cpu":
        importlib.import_module("comfy.cli_args").args.cpu = True
    load_engine()


def chosen(options: argparse.Namespace) -> tuple[list[Recipe], list[Preset]]:
    """Return the networks and caches that are asked for.

    Raises:
        SystemExit: If there are none.
    """
    known = FULL if options.device == "cuda" else small(options.width)
    recipes = [recipe for recipe in known if _named(recipe.name, options.networks)]
    presets = [preset for preset in PRESETS if _named(preset.title, options.settings)]
    if not recipes or not presets:
        raise SystemExit(
            f"bench gpu: got --networks {' '.join(options.networks)} --settings {' '.join(options.settings)}; expected parts of "
            f"{[recipe.name for recipe in known]} and of {[preset.title for preset in PRESETS]}; change them"
        )
    return recipes, presets


def measure(
    recipe: Recipe,
    presets: Sequence[Preset],
    ways: Sequence[str],
    options: argparse.Namespace,
    deadline: float,
) -> None:
    """Measure one network in every way, if it fits and there is time; leave nothing of it on the device."""
    if not _fits(recipe) or time.monotonic() > deadline:
        return
    print(f"{recipe.name}: {_size(recipe)}", flush=True)
    subject = load(recipe)
    for backend in ways:
        bench = Bench(load_engine(), subject, options.steps, _clock(options), backend)
        records = Records(folder_of(recipe, backend, options))
        Rounds(bench, records, lambda: time.monotonic() > deadline).measure(presets, options.rounds)
        if backend:
            importlib.import_module("torch._dynamo").reset()
    del subject, bench
    management = importlib.import_module("comfy.model_management")
    management.unload_all_models()
    gc.collect()
    management.soft_empty_cache()


def studies(recipes: Sequence[Recipe], options: argparse.Namespace) -> Iterator[Study]:
    """Return what was measured of the networks until now, in this run and in earlier ones."""
    for recipe in recipes:
        plain = rows(Records(folder_of(recipe, "", options)), PRESETS)
        compiled = Records(folder_of(recipe, options.backend, options))
        for backend, found in (("", plain), (options.backend, compiled_rows(compiled, PRESETS, plain))):
            if found:
                yield Study(
                    kind=options.device,
                    machine=_machine(options),
                    how=_how(options),
                    network=recipe.name,
                    size=_size(recipe),
                    backend=backend,
                    rows=tuple(found),
                )


def estimate(
    recipes: Sequence[Recipe], presets: Sequence[Preset], num_ways: int, options: argparse.Namespace
) -> str:
    """Return what is to be done, and about how long it takes where nothing of it was done before."""
    pictures = num_ways * num_pictures(len(presets), options.rounds)
    operations = sum(num_operations(recipe, options.steps) for recipe in recipes)
    speed = _HOPED * _operations_per_second(options.device, recipes[0].dtype)
    return (
        f"{len(recipes)} networks, {len(presets)} settings, {options.rounds} rounds, {num_ways} of without and with torch.compile: "
        f"the time of about {pictures:.0f} uncached pictures of each, about {pictures * operations / speed / 60:.1f} min, what "
        "torch.compile itself takes not counted; an interrupted run goes on where it stopped"
    )


def folder_of(recipe: Recipe, backend: str, options: argparse.Namespace) -> Path:
    """Return where the records of a network lie: elsewhere for another machine, version, size or engine."""
    parts = ("cache_core", "nodes", "benchmarks/fullsize")
    timed = sum_of([path for part in parts for path in sorted((ROOT / part).rglob("*.py"))], [])
    words = [_machine(options), _how(options), repr(recipe)]
    return Path(options.work) / f"{recipe.family}_{backend or 'plain'}_{fingerprint([], [*words, timed])}"


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--networks", nargs="+", default=[], metavar="WORD", help="only those so named, in part"
    )
    parser.add_argument(
        "--settings", nargs="+", default=[], metavar="WORD", help="only those so named, in part"
    )
    parser.add_argument("--steps", type=int, default=20, help="of a picture (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="pictures per setting (default: %(default)s)")
    parser.add_argument("--width", type=int, default=1024, help="on the CPU (default: %(default)s)")
    parser.add_argument(
        "--compile",
        choices=("both", "with", "without"),
        help="both on CUDA by default; rows with it need those without, of this run or an earlier one",
    )
    parser.add_argument("--backend", default="inductor", help="of torch.compile (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: %(default)s)")
    parser.add_argument(
        "--clock", choices=tuple(CLOCKS), default="wall", help="on the CPU; thread: where it is busy"
    )
    parser.add_argument("--minutes", type=float, default=1e6, help="start nothing after so many")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for the records")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for table and page")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    options.compile = options.compile or ("both" if options.device == "cuda" else "without")
    if options.device == "cuda" and options.clock != "wall":
        parser.error("got --clock thread on CUDA, which is timed by its own events; leave it out")
    return options


def _named(name: str, words: Sequence[str]) -> bool:
    return not words or any(word.casefold() in name.casefold() for word in words)


def _fits(recipe: Recipe) -> bool:
    """Return whether the device has room for a network; say so where it has not."""
    if recipe.device != "cuda":
        return True
    needed = _ROOM * num_parameters(recipe) * recipe.dtype.itemsize
    free, _ = torch.cuda.mem_get_info()
    if needed > free:
        print(
            f"{recipe.name}: left out, it needs about {needed / 1e9:.0f} GB and {free / 1e9:.0f} GB are free"
        )
    return needed <= free


def _clock(options: argparse.Namespace) -> Any:
    return CLOCKS[options.clock]


def _machine(options: argparse.Namespace) -> str:
    on_cuda = options.device == "cuda"
    return torch.cuda.get_device_name() if on_cuda else f"{platform.system()} {platform.machine()}"


def _how(options: argparse.Namespace) -> str:
    version = importlib.import_module("comfyui_version").__version__
    clock = "" if options.clock == "wall" else ", seconds that the thread itself ran"
    threads = "" if options.device == "cuda" else f", {options.threads} thread(s)"
    return f"{options.steps} steps, torch {torch.__version__}, ComfyUI {version}{threads}{clock}"


def _size(recipe: Recipe) -> str:
    kind = str(recipe.dtype).removeprefix("torch.")
    return f"width {recipe.width}, {recipe.depth + recipe.singles} blocks, {recipe.pixels} px, {recipe.text} text tokens, {kind}"


def _operations_per_second(device: str, dtype: torch.dtype) -> float:
    """Return the speed of a large matrix product."""
    side = _SIDES[device]
    a = torch.randn(side, side, device=device, dtype=dtype)
    (a @ a).sum().item()
    started = time.perf_counter()
    (a @ a).sum().item()
    return 2 * side**3 / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())

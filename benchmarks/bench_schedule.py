"""A searched step list or mask against what is known without a search, and fewer steps: `python dev.py bench schedule`.

The search is the one of the node `CacheScheduleSearch`, on a model of the zoo. What it found is then sampled with on other prompts and
other seeds, and compared with the uncached pictures. Nothing is written but what was found, into a folder that may be named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from metrics.fidelity import psnr
from metrics.study.cells import caption, scene_of
from quality.engine import Engine, load_engine
from quality.sampling import drawn_by
from torch import Tensor
from zoo.sampling import MODELS, Pipeline, Request, condition, decode, load_pipeline, sample_latents

SAMPLER, SCHEDULER = "euler", "simple"


def main(arguments: Sequence[str]) -> None:
    """Search and measure, model after model."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    engine = load_engine()
    for name in options.models:
        pipeline = load_pipeline(name)
        folder = Path(options.folder or tempfile.mkdtemp())
        folder.mkdir(parents=True, exist_ok=True)
        found = _search(engine, pipeline, options, folder)
        print(
            f"\n{name}, {options.steps} {SAMPLER} steps, cfg {options.cfg:g}, {options.speedup:g}x; {found.path.name}"
        )
        print(found.text)
        _report(engine, pipeline, options, found)


def _search(engine: Engine, pipeline: Pipeline, options: argparse.Namespace, folder: Path) -> Any:
    module = sys.modules[engine.host.__name__.replace(".host", ".schedule_finding")]
    asked = sys.modules[engine.host.__name__.replace(".host", ".schedule_order")]
    uncached = sys.modules[engine.host.__name__.replace(".host", ".uncached")]
    settings = uncached.KSamplerSettings(
        steps=options.steps, cfg=options.cfg, sampler=SAMPLER, scheduler=SCHEDULER
    )
    side = pipeline.size // 8
    order = asked.Order(
        model=pipeline.model,
        settings=settings,
        prompts=[condition([caption(scene_of(options.first + i))]) for i in range(options.prompts)],
        negative=condition([""]),
        latent={"samples": torch.zeros(1, pipeline.channels, side, side)},
        seed=options.first,
        num_seeds=1,
        speedup=options.speedup,
        forecast=asked.ForecastConfig(),
        searched=options.searches,
        tries=options.tries,
        minutes=options.minutes,
        folder=folder,
        vae=None if options.latents else pipeline.vae,
    )
    with torch.inference_mode():
        return module.find(order, lambda progress: None)


def _report(engine: Engine, pipeline: Pipeline, options: argparse.Namespace, found: Any) -> None:
    """Print the mean PSNR and latent error of every way to sample, on seeds that the search did not see."""
    began, seeds = time.perf_counter(), range(options.tested, options.tested + options.seeds)
    way, search = found.way, found.search
    uncached = _draw(pipeline, seeds, options.steps, options.cfg)
    ways = {f"{way.num_full} plain steps": _draw(pipeline, seeds, way.num_full, options.cfg)}
    policies = {"the table's own": way.policy(search.starts["table"])}
    policies |= dict(way.rivals(search.best.plan).values())
    known: dict[Any, Tensor] = {}
    for name, policy in policies.items():
        if policy.config not in known:
            model = engine.carry(pipeline.model, policy)
            known[policy.config] = _draw(drawn_by(pipeline, model), seeds, options.steps, options.cfg)
        ways[name] = known[policy.config]
    pictures = decode(pipeline, uncached)
    print(
        f"on {len(seeds)} other prompts and seeds from {seeds[0]} on, PSNR in dB against the uncached pictures:"
    )
    for name, latents in ways.items():
        ratios = psnr(decode(pipeline, latents), pictures)
        errors = (latents - uncached).flatten(1).norm(dim=1) / uncached.flatten(1).norm(dim=1)
        spread = float(ratios.std()) / len(seeds) ** 0.5
        print(
            f"  {name:<38} {float(ratios.mean()):5.1f} +- {spread:3.1f}   latents {float(errors.log().mean().exp()):.2%}"
        )
    print(f"  ({time.perf_counter() - began:.0f} s)", flush=True)


def _draw(pipeline: Pipeline, seeds: range, steps: int, cfg: float) -> Tensor:
    asked = [
        Request(caption=caption(scene_of(seed)), seed=seed, steps=steps, cfg=cfg, sampler=SAMPLER)
        for seed in seeds
    ]
    return sample_latents(pipeline, asked)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench schedule", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--speedup", type=float, default=2.0)
    parser.add_argument("--searches", choices=("steps", "blocks", "modules"), default="steps")
    parser.add_argument("--prompts", type=int, default=4, help="prompts that the search sees")
    parser.add_argument("--first", type=int, default=20_000, help="first seed and prompt of the search")
    parser.add_argument("--tries", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tested", type=int, default=30_000, help="first seed and prompt of the comparison")
    parser.add_argument("--seeds", type=int, default=8, help="pictures of the comparison")
    parser.add_argument("--latents", action="store_true", help="compare latents in the search, not pictures")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help="where to keep the files; none keeps them nowhere in particular")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])

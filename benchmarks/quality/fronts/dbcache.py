"""cache-dit's DBCache on diffusers' networks: what it needs, and a MODEL that carries it.

Its packages are no requirement of this project. They are taken from a folder that the user names, behind the host's own, so that
nothing of the private environment is replaced.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

WARMUP = 4
"""First calls that are computed, as in the project's published measurements; its default of 8 suits more than 20 steps."""
PACKAGES = ("cache-dit", "diffusers", "importlib-metadata", "lazy-importer", "zipp")
"""What is to be installed; the rest comes with ComfyUI."""
_KEY = "feature_cache_benchmark"
_ALIKE = {"flux": 2, "sd3": 3, "pixart": 3}
"""Blocks at the front that are to the zoo's model what 8 are to FLUX.1 (57), SD3.5-medium (24) and PixArt-Sigma (28)."""


def fronts_of(family: str) -> tuple[tuple[int, int], ...]:
    """Return what is measured: blocks that always run at the front, and order of the forecast, 0 without."""
    return tuple((blocks, order) for blocks in (1, _ALIKE[family]) for order in (0, 1))


def why_missing(folder: Path | None) -> str:
    """Return "" where cache-dit and diffusers can be imported, else why not and how to get them.

    Args:
        folder: Where the user has put them, or None; it goes to the end of the import path, and so to that of every process
            that is started from here.
    """
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        _cache_dit()
    except Exception as error:
        return (
            f"cache-dit: {type(error).__name__}: {error}; it is left out. To measure it: python -m pip install --no-deps "
            f"--target FOLDER {' '.join(PACKAGES)}, then add --cache-dit FOLDER"
        )
    return ""


def versions() -> tuple[str, ...]:
    """Return what its pictures depend on beside this file."""
    return tuple(f"{name} {version(name)}" for name in ("cache-dit", "diffusers"))


def carry(model: Any, threshold: float, blocks: int, order: int) -> Any:
    """Return a clone of a MODEL with DBCache on its network of diffusers.

    The branches of guidance go through in one batch, as ComfyUI passes them, so that both are decided on together. Every run
    begins with an empty cache.

    Args:
        model: With a network of `diffusers_models`; one network keeps to one number of blocks and one order.
        threshold: Change of the first blocks' residual below which the others are not run.
        blocks: That always run, at the front.
        order: Of TaylorSeer's forecast of what is reused; 0 reuses it as it is.
    """
    from comfy.patcher_extension import WrappersMP

    cache_dit = _cache_dit()
    network = model.model.diffusion_model.transformer
    given = _given(cache_dit, threshold, blocks, order)
    if not getattr(network, "_context_names", None):
        cache_dit.enable_cache(_adapted(cache_dit, network), **given)

    def begin(executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        cache_dit.refresh_context(network, **_given(cache_dit, threshold, blocks, order))
        return executor(*args, **kwargs)

    carried = model.clone()
    carried.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, begin)
    return carried


def _given(cache_dit: Any, threshold: float, blocks: int, order: int) -> dict[str, Any]:
    config = cache_dit.DBCacheConfig(
        Fn_compute_blocks=blocks,
        Bn_compute_blocks=0,
        residual_diff_threshold=threshold,
        max_warmup_steps=WARMUP,
        enable_separate_cfg=False,
    )
    if not order:
        return {"cache_config": config, "calibrator_config": None}
    # With no block behind, nobody reads the text that leaves them; SD3's last block drops it, and a forecast of it fails.
    forecast = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=order, enable_encoder_calibrator=False)
    return {"cache_config": config, "calibrator_config": forecast}


def _adapted(cache_dit: Any, network: Any) -> Any:
    from diffusers import SD3Transformer2DModel

    if not isinstance(network, SD3Transformer2DModel):
        return network
    # cache-dit knows SD3 by its pipeline alone; this is what it takes of that.
    pattern = cache_dit.ForwardPattern.Pattern_1
    return cache_dit.BlockAdapter(
        transformer=network, blocks=network.transformer_blocks, forward_pattern=pattern
    )


def _cache_dit() -> Any:
    # It says much of every run, and there are thousands.
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "ERROR")
    return importlib.import_module("cache_dit")

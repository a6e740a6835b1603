"""Samplers and schedulers, guidance and batch, parts of a schedule, guiders."""

from __future__ import annotations

from functools import partial
from typing import Any

import real
import torch

from .base import FAMILIES, Cell, guided, ksampler, latent, levels_of, over_levels, stock

# The names of every supported host: each host's own menu is compared with these in test_guarantees.py.
SAMPLERS = [
    "euler",
    "euler_cfg_pp",
    "euler_ancestral",
    "euler_ancestral_cfg_pp",
    "heun",
    "heunpp2",
    "exp_heun_2_x0",
    "exp_heun_2_x0_sde",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "dpmpp_2m",
    "dpmpp_2m_cfg_pp",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu",
    "ddpm",
    "lcm",
    "ipndm",
    "ipndm_v",
    "deis",
    "res_multistep",
    "res_multistep_cfg_pp",
    "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp",
    "gradient_estimation",
    "gradient_estimation_cfg_pp",
    "er_sde",
    "seeds_2",
    "seeds_3",
    "sa_solver",
    "sa_solver_pece",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
]
SCHEDULERS = [
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "linear_quadratic",
    "kl_optimal",
]
UNFORESEEN = {"dpm_fast", "dpm_adaptive", "heunpp2", "uni_pc", "uni_pc_bh2"}
"""Samplers that do not say how many calls they will make: FORA counts from the start."""
KINDS = [
    "euler_ancestral",
    "euler_cfg_pp",
    "heun",
    "heunpp2",
    "dpm_2",
    "dpm_fast",
    "dpmpp_sde",
    "dpmpp_2m",
    "dpmpp_3m_sde",
    "lcm",
    "seeds_3",
    "sa_solver_pece",
    "uni_pc",
]
"""One sampler of each kind, for the families that do not get all of them."""
ADAPTIVE = {"dpm_adaptive"}
"""Samplers whose number of calls hangs on what the network returns: no oracle of a given length."""


def _sampler_cell(family: str, sampler: str, scheduler: str, *, core: bool) -> Cell:
    return Cell(
        group="sampler x scheduler",
        name=f"{sampler} {scheduler}",
        sample=partial(ksampler, sampler_name=sampler, scheduler=scheduler),
        family=family,
        anchor="start" if sampler in UNFORESEEN else "end",
        core=core,
        batches=sampler not in ADAPTIVE,
    )


def _is_quick(sampler: str) -> bool:
    return sampler not in ADAPTIVE and not sampler.endswith("_gpu")


def _samplers() -> list[Cell]:
    """Every sampler on Flux, on three schedulers but for twins and the slow one; one of each kind on the others."""
    pairs = {(sampler, "simple") for sampler in SAMPLERS}
    pairs |= {(sampler, other) for sampler in SAMPLERS if _is_quick(sampler) for other in ("beta", "karras")}
    pairs |= {("euler", scheduler) for scheduler in SCHEDULERS}
    cells = [
        _sampler_cell("flux", *pair, core=pair[1] == "simple" and _is_quick(pair[0]))
        for pair in sorted(pairs)
    ]
    others = [_sampler_cell(family, s, "simple", core=s == "heun") for family in FAMILIES[1:] for s in KINDS]
    return cells + others


def _batches() -> list[Cell]:
    return [
        Cell(
            group="guidance and batch",
            name=f"cfg {cfg:g} batch {batch}",
            sample=lambda model, cfg=cfg, batch=batch: ksampler(
                model, cfg=cfg, latent_image=latent(model, batch)
            ),
            family=family,
            level=level,
            core=level in ("module", "model") and family == "flux",
        )
        for family in FAMILIES
        for level in levels_of(family)
        for cfg in (1.0, 4.0)
        for batch in (1, 4)
    ]


def _img2img(model: Any, denoise: float, sampler: str) -> torch.Tensor:
    return ksampler(
        model, denoise=denoise, sampler_name=sampler, latent_image=latent(model, empty=False), steps=6
    )


def _halves(model: Any, sampler: str, noise: str) -> torch.Tensor:
    """Two KSamplerAdvanced, the second taking up where the first ended."""
    shared = {
        "model": model,
        "noise_seed": 1,
        "steps": 8,
        "cfg": 4.0,
        "sampler_name": sampler,
        "scheduler": "simple",
        "positive": real.conditioning(1),
        "negative": real.conditioning(2),
    }
    first = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 4, "return_with_leftover_noise": noise}
    second = {
        "add_noise": "disable",
        "start_at_step": 4,
        "end_at_step": 8,
        "return_with_leftover_noise": "disable",
    }
    with torch.inference_mode():
        half = stock("KSamplerAdvanced", latent_image=latent(model), **shared, **first)[0]
        whole: torch.Tensor = stock("KSamplerAdvanced", latent_image=half, **shared, **second)[0]["samples"]
    return whole


def _parts() -> list[Cell]:
    parts = {
        "denoise 0.7": partial(_img2img, denoise=0.7, sampler="euler"),
        "denoise 0.4 heun": partial(_img2img, denoise=0.4, sampler="heun"),
        "two halves": partial(_halves, sampler="euler", noise="enable"),
        "two halves dpmpp_2m": partial(_halves, sampler="dpmpp_2m", noise="enable"),
        "two halves heun": partial(_halves, sampler="heun", noise="enable"),
        "two halves, noise removed between": partial(_halves, sampler="euler", noise="disable"),
    }
    return [
        Cell(
            group="parts of a schedule",
            name=name,
            sample=sample,
            family=family,
            core=family == "flux",
        )
        for name, sample in parts.items()
        for family in FAMILIES
    ]


def _two_models(model: Any) -> torch.Tensor:
    """The negative pass on a network of its own, whose options are the first model's."""
    other = real.random_flux(seed=3)
    return guided(
        model,
        "DualModelGuider",
        model_negative=other,
        positive=real.conditioning(1),
        negative=real.conditioning(2),
        cfg=4.0,
    )


def _guiders() -> list[Cell]:
    one, two, three = (real.conditioning(seed) for seed in (1, 2, 3))
    graphs = {
        "BasicGuider": partial(guided, guider="BasicGuider", conditioning=one),
        "CFGGuider": partial(guided, guider="CFGGuider", positive=one, negative=two, cfg=4.0),
        "CFGGuider heun": lambda model: guided(
            model,
            "CFGGuider",
            sampler=stock("KSamplerSelect", sampler_name="heun")[0],
            positive=one,
            negative=two,
            cfg=4.0,
        ),
        "DualCFGGuider": partial(
            guided,
            guider="DualCFGGuider",
            cond1=one,
            cond2=three,
            negative=two,
            cfg_conds=3.0,
            cfg_cond2_negative=2.0,
            style="regular",
        ),
        "DualCFGGuider nested": partial(
            guided,
            guider="DualCFGGuider",
            cond1=one,
            cond2=three,
            negative=two,
            cfg_conds=3.0,
            cfg_cond2_negative=2.0,
            style="nested",
        ),
        "PerpNegGuider": partial(
            guided,
            guider="PerpNegGuider",
            positive=one,
            negative=two,
            empty_conditioning=three,
            cfg=4.0,
            neg_scale=1.0,
        ),
    }
    cells = [
        cell
        for name, sample in graphs.items()
        for cell in over_levels(group="guiders", name=name, sample=sample)
    ]
    # The plain network of the negative pass is not the one that the oracle hooks, so that pass is no lane of its.
    return [*cells, Cell(group="guiders", name="DualModelGuider", sample=_two_models, level="block")]


CELLS = [*_samplers(), *_batches(), *_parts(), *_guiders()]

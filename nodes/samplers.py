"""How often ComfyUI's samplers call the model: what end-anchored schedules count from.

Checked against the real host, sampler by sampler, in tests/host/test_samplers.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

ONE_CALL_PER_STEP = frozenset(
    [
        "euler",
        "euler_ancestral",
        "euler_cfg_pp",
        "euler_ancestral_cfg_pp",
        "lms",
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
        "sa_solver",
    ]
)
"""Samplers with one call in every step."""

FIRST_ORDER = frozenset(["euler", "euler_ancestral"])
"""Those of them that look at no earlier prediction."""

UNLIKE = frozenset(["er_sde"])
"""Those of them that add noise, and were seen not to drift all the same: as yet no class is known to hold for them."""

CALLS_PER_STEP = {
    "heun": 2,
    "dpm_2": 2,
    "dpm_2_ancestral": 2,
    "dpmpp_2s_ancestral": 2,
    "dpmpp_2s_ancestral_cfg_pp": 2,
    "dpmpp_sde": 2,
    "dpmpp_sde_gpu": 2,
    "exp_heun_2_x0": 2,
    "exp_heun_2_x0_sde": 2,
    "seeds_2": 2,
    "seeds_3": 3,
    "sa_solver_pece": 2,
}
"""Samplers with several calls in every step but the one that ends at sigma 0, which has one."""

FIRST_ALONE = frozenset(["sa_solver_pece"])
"""Those of them whose first step has one call, and the last as many as the others; all at the step's own noise level."""
AT_THE_NEXT = frozenset(["heun", "exp_heun_2_x0", "exp_heun_2_x0_sde"])
"""Samplers whose second call in a step is at the noise level of the next."""
AT_THE_MEAN = frozenset(["dpm_2"])
"""Samplers whose second call is at the geometric mean of that of the step and the next."""


FRESH_NOISE = frozenset(
    [
        "euler_ancestral",
        "euler_ancestral_cfg_pp",
        "exp_heun_2_x0_sde",
        "dpm_2_ancestral",
        "dpmpp_2s_ancestral",
        "dpmpp_2s_ancestral_cfg_pp",
        "dpmpp_sde",
        "dpmpp_sde_gpu",
        "dpmpp_2m_sde",
        "dpmpp_2m_sde_gpu",
        "dpmpp_2m_sde_heun",
        "dpmpp_2m_sde_heun_gpu",
        "dpmpp_3m_sde",
        "dpmpp_3m_sde_gpu",
        "ddpm",
        "lcm",
        "res_multistep_ancestral",
        "res_multistep_ancestral_cfg_pp",
        "seeds_2",
        "seeds_3",
        "sa_solver",
        "sa_solver_pece",
    ]
)
"""Samplers that add new noise in every step, of which a reused feature knows nothing, and that were seen to drift."""

AMPLIFYING = frozenset(
    [
        "euler_cfg_pp",
        "dpmpp_2m_cfg_pp",
        "res_multistep_cfg_pp",
        "gradient_estimation_cfg_pp",
        "lms",
        "dpm_fast",
        "ipndm",
        "ipndm_v",
        "unipc",
        "unipc_bh2",
    ]
)
"""Samplers without noise of their own that were seen to drift all the same."""

WITHOUT_NOISE = " (eta 0)"
"""What is added to the name of a sampler that would add noise and was told not to."""


def sampler_name(sampler: Any) -> str:
    """Return a sampler's name as users know it, such as `heun`; the class name where it has no function."""
    function = getattr(sampler, "sampler_function", None)
    name = (
        getattr(function, "__name__", type(sampler).__name__)
        .removeprefix("sample_")
        .removesuffix("_function")
    )
    settings = getattr(sampler, "extra_options", {})
    is_silent = settings.get("eta", 1.0) == 0 or settings.get("s_noise", 1.0) == 0
    return name + WITHOUT_NOISE if name in FRESH_NOISE and is_silent else name


def sampler_class(sampler: Any) -> str:
    """Return the value of a sampler's `SamplerClass`."""
    if sampler_name(sampler) in FRESH_NOISE:
        return "new noise"
    name = sampler_name(sampler).removesuffix(WITHOUT_NOISE)
    if name in AMPLIFYING | UNLIKE or name.endswith("_cfg_pp") or _is_churned(sampler):
        return "unknown"
    if name in CALLS_PER_STEP:
        return "several calls"
    if name not in ONE_CALL_PER_STEP:
        return "unknown"
    return "first order" if name in FIRST_ORDER else "multistep"


def call_sigmas(sampler: Any, sigmas: Sequence[float]) -> tuple[float, ...]:
    """Return the noise level of every call where the schedule says it; else nothing.

    Only the host's functions are known so well, and only without churn, which raises a step's noise level. The first
    call may lie a little lower: some samplers shift it where its share of the picture is zero.
    """
    function = getattr(sampler, "sampler_function", None)
    is_hosts = getattr(function, "__module__", "") == "comfy.k_diffusion.sampling"
    name = sampler_name(sampler).removesuffix(WITHOUT_NOISE)
    if (
        not is_hosts
        or _is_churned(sampler)
        or name not in ONE_CALL_PER_STEP | FIRST_ALONE | AT_THE_NEXT | AT_THE_MEAN
    ):
        return ()
    return tuple(level for step in range(len(sigmas) - 1) for level in _levels(name, step, sigmas))


def _is_churned(sampler: Any) -> bool:
    """Return whether a sampler is told to raise the noise level of its steps."""
    return bool(getattr(sampler, "extra_options", {}).get("s_churn", 0.0) > 0.0)


def _levels(name: str, step: int, sigmas: Sequence[float]) -> tuple[float, ...]:
    """Return the noise levels of the calls in a step."""
    here, following = sigmas[step], sigmas[step + 1]
    if _num_calls(name, step, sigmas) == 1:
        return (here,)
    if name in FIRST_ALONE:
        return (here, here)
    return (here, following if name in AT_THE_NEXT else math.sqrt(here * following))


def _num_calls(name: str, step: int, sigmas: Sequence[float]) -> int:
    """Return how many calls a sampler makes in a step."""
    is_short = step == 0 if name in FIRST_ALONE else sigmas[step + 1] == 0
    return 1 if is_short else CALLS_PER_STEP.get(name, 1)


def drift_warning(name: str) -> str:
    """Return what to know of reuse with the sampler called `name`; nothing where there is nothing to say.

    The tables are what was measured: docs/compatibility.md.
    """
    reasons = {
        "adds new noise in every step, which reused features know nothing of": FRESH_NOISE,
        "lets small changes of one step grow in the next": AMPLIFYING,
    }
    for reason, names in reasons.items():
        if name in names:
            return (
                f"Feature Cache: the sampler '{name}' {reason}: the picture will differ more from the uncached one than "
                "with other samplers. It may be as good; to come nearer, take 'euler', 'heun' or 'dpmpp_2m', a smaller "
                "speedup or interval, or a narrower window from 'start_percent' to 'end_percent'."
            )
    return ""


def call_steps(name: str, sigmas: Sequence[float]) -> tuple[int, ...] | None:
    """Return the step of every call the sampler will make on `sigmas`, or None where that is not known."""
    num_steps = len(sigmas) - 1
    if num_steps < 1:
        return ()
    name = name.removesuffix(WITHOUT_NOISE)
    if name not in ONE_CALL_PER_STEP and name not in CALLS_PER_STEP:
        return None
    return tuple(step for step in range(num_steps) for _ in range(_num_calls(name, step, sigmas)))

"""The only file that knows ModelPatcher, its wrappers and transformer_options.

Three wrappers on a cloned MODEL bind a policy to the host. OUTER_SAMPLE gives every sampling run a new session
and drops it whatever happens; PREDICT_NOISE opens a call; APPLY_MODEL, through which every model family passes,
installs the adapter's forward replacements for the length of one pass.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Hashable
from typing import Any

import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP
from comfy_execution.utils import get_executing_context

from ..cache_core import (
    CacheConflictError,
    CacheSession,
    Lane,
    Policy,
    Run,
    RunReport,
    find_adapter,
    scoped_forwards,
)
from .progress import show_on_sampler
from .samplers import call_steps, sampler_name
from .text import one_line, so_far

KEY = "feature_cache"
"""Our key in transformer_options and among the wrappers."""

COMPILE_KEY = "torch.compile"
"""The host's key for the wrapper that puts a compiled network in place, inside or outside of ours."""

UNCOMPILED = "Feature Cache: the cached blocks run uncompiled, torch.compile only serves what is around them."

log = logging.getLogger("cache_core")


class Ledger:
    """The report of the last run of a cached MODEL: numbers only, and the one thing that outlives a run."""

    def __init__(self) -> None:
        """Start without a report."""
        self.report: RunReport | None = None
        self.prompt_id: str | None = None

    def publish(self, report: RunReport) -> None:
        """Put `report` in the place of the last one."""
        self.report, self.prompt_id = report, current_prompt()


class CacheBinding:
    """A policy bound to a MODEL: what our wrappers share, without any state of a run."""

    def __init__(self, policy: Policy, start_percent: float, end_percent: float) -> None:
        """Reuse is allowed from `start_percent` to `end_percent` of the sampling, both from 0 to 1."""
        self.policy = policy
        self.start_percent, self.end_percent = start_percent, end_percent
        self.ledger = Ledger()

    def outer_sample(
        self,
        executor: Any,
        noise: Any,
        latent_image: Any,
        sampler: Any,
        sigmas: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Give the run a session in options of its own; publish its report and drop it at the end."""
        guider = executor.class_obj
        options = guider.model_options
        name = sampler_name(sampler)
        values = tuple(sigmas.tolist())
        run = Run(sigmas=values, sampler=name, call_steps=call_steps(name, values))
        session = CacheSession(self.policy, run, torch.device(guider.model_patcher.load_device))
        guider.model_options = comfy.model_patcher.create_model_options_clone(options)
        guider.model_options["transformer_options"][KEY] = session
        started = time.perf_counter()
        try:
            return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        finally:
            guider.model_options = options
            report = session.close(time.perf_counter() - started)
            self.ledger.publish(report)
            show_on_sampler(one_line(report))
            log.info(one_line(report))

    def predict_noise(
        self,
        executor: Any,
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: Any = None,
        seed: Any = None,
    ) -> Any:
        """Open a call for one evaluation that the sampler asks for."""
        session = _session(model_options)
        if session is None:
            return executor(x, timestep, model_options, seed)
        sigma = float(timestep.max())
        with session.open_call(
            sigma, allowed=self._allows(executor.class_obj.inner_model.model_sampling, sigma)
        ):
            output = executor(x, timestep, model_options, seed)
        show_on_sampler(so_far(*session.recorder.counts))
        return output

    def apply_model(
        self,
        executor: Any,
        x: torch.Tensor,
        t: torch.Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Route one pass of the live network through the session, if there is one and the host names the branches."""
        options = transformer_options or {}
        session: CacheSession | None = options.get(KEY)
        arguments = (x, t, c_concat, c_crossattn, control, options)
        if session is None or session.call is None or not options.get("uuids"):
            return executor(*arguments, **kwargs)
        network = executor.class_obj.diffusion_model
        lanes = _lanes(executor.class_obj, x, c_crossattn, control, options)
        compiled = _is_compiled(network, options)
        if compiled and session.call.index == 0:
            log.warning(UNCOMPILED)
        with (
            session.open_pass(_uncompiled(network), lanes) as opened,
            scoped_forwards(opened.patches, compiled=compiled),
        ):
            return executor(*arguments, **kwargs)

    def _allows(self, model_sampling: Any, sigma: float) -> bool:
        start = (
            math.inf
            if self.start_percent <= 0
            else float(model_sampling.percent_to_sigma(self.start_percent))
        )
        end = -math.inf if self.end_percent >= 1 else float(model_sampling.percent_to_sigma(self.end_percent))
        return end <= sigma <= start


def attach(model: Any, binding: CacheBinding) -> Any:
    """Return a clone of a MODEL that carries `binding`.

    Raises:
        CacheConflictError: If the MODEL carries a cache already.
        UnsupportedModelError: If no adapter fits its network, or the family lacks the policy's level.
    """
    present = find_binding(model)
    if present is not None:
        raise CacheConflictError(
            f"This MODEL already carries a cache ({present.policy.title}: {present.policy.config.describe()}). "
            "A MODEL carries one: remove one of the two cache nodes, or feed this one from before the other."
        )
    network = _uncompiled(model.get_model_object("diffusion_model"))
    find_adapter(network)(network).sites(binding.policy.level)
    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, binding.outer_sample)
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, binding.predict_noise)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, binding.apply_model)
    return patched


def find_binding(model: Any) -> CacheBinding | None:
    """Return the cache that a MODEL carries, or None."""
    for wrapper in model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
        owner = wrapper.__self__
        assert isinstance(owner, CacheBinding)
        return owner
    return None


def current_prompt() -> str | None:
    """Return the id of the prompt that is being executed, or None outside the executor."""
    context = get_executing_context()
    return None if context is None else str(context.prompt_id)


def _session(model_options: Any) -> CacheSession | None:
    session: CacheSession | None = (model_options or {}).get("transformer_options", {}).get(KEY)
    return session


def _uncompiled(network: Any) -> Any:
    """Return the network behind torch.compile's wrapper, whose sub-modules are the ones that run."""
    return getattr(network, "_orig_mod", network)


def _is_compiled(network: Any, options: Any) -> bool:
    return network is not _uncompiled(network) or COMPILE_KEY in options["wrappers"][WrappersMP.APPLY_MODEL]


def _lanes(base_model: Any, x: torch.Tensor, context: Any, control: Any, options: Any) -> list[Lane]:
    """Return the lane of every branch in the batch.

    An area and its complement share a uuid, so the index among the host's conditioning lists goes with it.
    """
    branches = list(zip(options["uuids"], options["cond_or_uncond"], strict=True))
    window = getattr(options.get("context_window"), "index_list", None)
    variant = (
        id(base_model),
        _frozen(
            {
                name: options.get(name)
                for name in ("patches", "patches_replace", "optimized_attention_override")
            }
        ),
        _frozen(window),
        control is not None,
        tuple(getattr(context, "shape", ()))[1:],
    )
    shape = (x.shape[0] // len(branches), *x.shape[1:])
    return [Lane(branch=b, variant=variant, shape=shape, dtype=x.dtype, device=x.device) for b in branches]


def _frozen(value: Any) -> Hashable:
    """Return a hashable stand-in for nested options; functions stand for themselves, so a new one is a new lane."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value if isinstance(value, Hashable) else id(value)

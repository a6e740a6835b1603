"""Binds a policy to a MODEL: the only file that knows ModelPatcher and its wrappers.

Four wrappers on a cloned MODEL do it. OUTER_SAMPLE gives every sampling run a new session and drops it whatever
happens; PREPARE_SAMPLING asks for the memory it will hold; PREDICT_NOISE opens a call; APPLY_MODEL, through which every
model family passes, installs the adapter's forward replacements for the length of one pass.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP
from comfy_execution.utils import get_executing_context

from ..cache_core import (
    Adapter,
    CacheConflictError,
    CacheSession,
    Footprint,
    Policy,
    Probe,
    Recording,
    Residence,
    RunReport,
    find_adapter,
    foresee,
    scoped_forwards,
)
from .compiled import UNCOMPILED, is_compiled, uncompiled
from .conflicts import refuse_conflicts
from .devices import one_after_the_other
from .lanes import lanes_of
from .memory import branches, with_room
from .memory_text import budget_warning, non_finite_warning
from .progress import show_on_sampler
from .runs import run_of
from .samplers import drift_warning
from .text import one_line, so_far

KEY = "feature_cache"
"""Our key in transformer_options and among the wrappers."""

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

    def __init__(
        self,
        policy: Policy,
        start_percent: float,
        end_percent: float,
        residence: Residence | None = None,
        *,
        is_shown: bool = True,
    ) -> None:
        """Reuse is allowed from `start_percent` to `end_percent` of the sampling, both from 0 to 1.

        With `is_shown` false nothing is shown on the node that samples, which has things of its own to show.
        """
        self.policy, self.residence = policy, residence or Residence()
        self.is_shown = is_shown and not isinstance(policy, Recording)
        self.start_percent, self.end_percent = start_percent, end_percent
        self.ledger = Ledger()

    @property
    def probe(self) -> Probe | None:
        """What a calibration looks at, if this is one."""
        return self.policy.probe if isinstance(self.policy, Recording) else None

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
        """Give the run a session in options of its own; publish its report and drop it at the end.

        Raises:
            CacheConflictError: If a node that came after ours cannot work beside it.
        """
        guider = executor.class_obj
        options = guider.model_options
        wrappers = options["transformer_options"].get("wrappers", {})
        self.refuse_conflicts(wrappers, options)
        run = run_of(guider, noise, sampler, sigmas, (self.start_percent, self.end_percent))
        device = torch.device(guider.model_patcher.load_device)
        foreseen = self._foreseen(guider, noise.shape, device)
        session = CacheSession(self.policy, run, device, self.residence, foreseen, self.probe)
        network = guider.model_patcher.get_model_object("diffusion_model")
        compiled = is_compiled(network, wrappers.get(WrappersMP.APPLY_MODEL, {}))
        notes = (budget_warning(session.foreseen, self.residence), UNCOMPILED if compiled else "")
        for note in (*session.notes, *notes):
            _warn(note)
        guider.model_options = comfy.model_patcher.create_model_options_clone(options)
        guider.model_options["transformer_options"][KEY] = session
        started = time.perf_counter()
        try:
            return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        finally:
            guider.model_options = options
            report = session.close(time.perf_counter() - started)
            self.ledger.publish(report)
            if self.is_shown:
                show_on_sampler(one_line(report))
            log.info(one_line(report))
            _warn(non_finite_warning(report.memory))

    def prepare_sampling(self, executor: Any, model: Any, noise_shape: Any, conds: Any, **kwargs: Any) -> Any:
        """Let ComfyUI's estimate of memory grow by what the cache will hold on the model's device."""
        session = _session(kwargs.get("model_options"))
        if session is not None:
            room = session.foreseen.device_bytes
            noise_shape = with_room(noise_shape, model.model.memory_required, room)
        return executor(model, noise_shape, conds, **kwargs)

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
        _, reused_before = session.recorder.counts
        with session.open_call(_sigma(session, timestep)), one_after_the_other(model_options, x) as options:
            output = executor(x, timestep, options, seed)
        computed, reused = session.recorder.counts
        if reused and not reused_before:
            _warn(drift_warning(session.run.sampler))
        if self.is_shown:
            show_on_sampler(so_far(computed, reused))
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
        lanes = lanes_of(executor.class_obj, x, c_crossattn, control, options)
        compiled = is_compiled(network, options["wrappers"][WrappersMP.APPLY_MODEL])
        with (
            session.open_pass(uncompiled(network), lanes) as opened,
            scoped_forwards(opened.patches, compiled=compiled),
        ):
            return executor(*arguments, **kwargs)

    def refuse_conflicts(self, wrappers: Mapping[str, Mapping[str, Any]], options: Any) -> None:
        """Refuse to share a MODEL, of these wrappers and model options, with a node that cannot.

        Raises:
            CacheConflictError: If there is such a node; the text names both.
        """
        ours = f"{self.policy.label}: {self.policy.describe()}"
        refuse_conflicts(ours, wrappers, options.get("transformer_options", {}).get("patches", {}))

    def _foreseen(self, guider: Any, latent_shape: Any, device: torch.device) -> Footprint:
        adapter = adapter_of(guider.model_patcher)
        return foresee(adapter, self.policy, self.residence, branches(guider, latent_shape), device)


def attach(model: Any, binding: CacheBinding) -> Any:
    """Return a clone of a MODEL that carries `binding`.

    Raises:
        CacheConflictError: If the MODEL carries a cache already, or a node that cannot work beside one.
        UnsupportedModelError: If no adapter fits its network, or the family lacks the policy's indicator.
    """
    present = find_binding(model)
    if present is not None:
        raise CacheConflictError(
            f"This MODEL already carries a cache ({present.policy.label}: {present.policy.describe()}). "
            "A MODEL carries one: remove one of the two cache nodes, or feed this one from before the other."
        )
    binding.refuse_conflicts(model.wrappers, model.model_options)
    adapter_of(model).admit(binding.policy.level, binding.policy.indicator)
    return _carrying(model, binding)


def replace_policy(model: Any, policy: Policy) -> Any:
    """Return a clone of a MODEL that carries a cache, whose cache follows `policy` and is as it was in all else.

    The MODEL that is given keeps its own policy.
    """
    present = find_binding(model)
    assert present is not None
    binding = CacheBinding(
        policy, present.start_percent, present.end_percent, present.residence, is_shown=present.is_shown
    )
    return _carrying(model, binding)


def _carrying(model: Any, binding: CacheBinding) -> Any:
    """Return a clone of a MODEL with our wrappers, in the place of those it may have among other nodes'."""
    patched = model.clone()
    wrappers = {
        WrappersMP.OUTER_SAMPLE: binding.outer_sample,
        WrappersMP.PREPARE_SAMPLING: binding.prepare_sampling,
        WrappersMP.PREDICT_NOISE: binding.predict_noise,
        WrappersMP.APPLY_MODEL: binding.apply_model,
    }
    for kind, wrapper in wrappers.items():
        patched.wrappers.setdefault(kind, {})[KEY] = [wrapper]
    return patched


def adapter_of(model: Any) -> Adapter:
    """Return the adapter of a MODEL's network.

    Raises:
        UnsupportedModelError: If no adapter fits it.
    """
    network = uncompiled(model.get_model_object("diffusion_model"))
    return find_adapter(network)(network)


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


def _warn(text: str) -> None:
    if text:
        log.warning(text)


def _session(model_options: Any) -> CacheSession | None:
    session: CacheSession | None = (model_options or {}).get("transformer_options", {}).get(KEY)
    return session


def _sigma(session: CacheSession, timestep: torch.Tensor) -> float:
    """Return the noise level of the call that begins, without waiting for the device where the schedule says it.

    The first call is read: nothing is under way that would be waited for, and some samplers shift it.
    """
    index, known = session.planner.num_calls, session.run.call_sigmas
    if 0 < index < len(known):
        return known[index]
    return float(timestep.max())

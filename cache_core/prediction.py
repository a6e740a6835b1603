"""What a static schedule will compute, counted before it runs."""

from __future__ import annotations

from .policy import Evidence, Policy
from .types import Action, Call, Run, Site


def predict_refresh_ratio(policy: Policy, run: Run, sites: tuple[Site, ...]) -> float:
    """Return computed over all site evaluations that `policy` will make in `run`; its first call computes all.

    For schedules that are known before a call; one that looks at an indicator cannot be predicted.
    """
    steps = run.call_steps if run.call_steps is not None else tuple(range(run.num_steps))
    evidence = Evidence(sites=sites)
    computed = 0
    for index, step in enumerate(steps):
        call = Call(index=index, step=step, sigma=run.sigmas[step], run=run)
        actions = policy.plan(call, evidence).values()
        computed += len(sites) if index == 0 else sum(action is Action.COMPUTE for action in actions)
    return computed / max(len(steps) * len(sites), 1)

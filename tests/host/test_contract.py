"""The ten guarantees, for every method x family x level, in the real host.

A new method is covered by being registered, a new family by a model here: nothing else names one. The oracle is
written per family because it must not share code with the adapters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import oracle
import pytest
import real
import specimens
import torch

import cache_core

STEPS = 6
MODELS: dict[str, Callable[..., Any]] = {
    "flux": real.random_flux,
    "chroma": real.random_chroma,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}
CASES = [
    pytest.param(family, name, level, id=f"{family}-{name}-{level}")
    for family in MODELS
    for name in cache_core.POLICIES
    for level in specimens.levels(cache_core.POLICIES[name])
]
# A correction knows neither family nor level; its node's test has them all.
CASES += [
    pytest.param("flux", f"{name}+{correction}", level, id=f"flux-{name}+{correction}-{level}")
    for name in cache_core.POLICIES
    for correction in cache_core.CORRECTIONS
    for level in specimens.levels(cache_core.POLICIES[name])[:1]
]
pytestmark = pytest.mark.parametrize(("family", "name", "level"), CASES)


class Case:
    """One cell: a plain model, and cached clones of it."""

    def __init__(self, host: real.Host, family: str, name: str, level: str) -> None:
        self.plain = MODELS[family]()
        self.level, self._host = level, host
        self.name, _, self.correction = name.partition("+")

    @property
    def method(self) -> Any:
        return self._host.module("cache_core").POLICIES[self.name]

    @property
    def config_type(self) -> Any:
        core = self._host.module("cache_core")
        return (core.CORRECTIONS[self.correction] if self.correction else self.method).config_type

    def policy(self, steps: int = STEPS, **settings: Any) -> Any:
        adapter = self._host.module("nodes.host").adapter_of(self.plain)
        policy = specimens.make(self._host.module, self.name, self.level, adapter, steps, **settings)
        if self.correction:
            return specimens.corrected(self._host.module, policy, self.correction, adapter, steps)
        return policy

    def strict(self) -> Any:
        return self._attach(self.policy(**self.method.strictest))

    def cached(self, steps: int = STEPS) -> Any:
        return self._attach(self.policy(steps, **self.method.loosest))

    def _attach(self, policy: Any) -> Any:
        binding = self._host.module("nodes.host")
        return binding.attach(self.plain, binding.CacheBinding(policy, 0.0, 1.0))


@pytest.fixture
def case(host: real.Host, family: str, name: str, level: str) -> Case:
    return Case(host, family, name, level)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_1_strictest_setting_is_bit_identical_and_routes_every_site(
    case: Case, report: Callable[[Any], Any], sampler: str, cfg: float
) -> None:
    expected = real.sample(case.plain, steps=STEPS, cfg=cfg, sampler=sampler)
    strict = case.strict()
    actual = real.sample(strict, steps=STEPS, cfg=cfg, sampler=sampler)
    run = report(strict)
    branches = 1 if cfg == 1.0 else 2
    assert torch.equal(actual, expected)
    assert run.num_reused == 0
    assert run.num_computed == len(run.calls) * len(run.sites) * branches
    assert run.peak_bytes > 0
    assert real.instance_forwards(case.plain) == []
    assert torch.equal(real.sample(case.plain, steps=STEPS, cfg=cfg, sampler=sampler), expected)


def test_2_first_call_computes_everything(case: Case, report: Callable[[Any], Any]) -> None:
    model = case.cached()
    real.sample(model, steps=STEPS)
    first, *later = report(model).calls
    assert sum(first.reused) == 0
    assert all(first.computed)
    assert sum(sum(call.reused) for call in later) > 0


def test_2_branch_without_history_computes(case: Case, report: Callable[[Any], Any]) -> None:
    """A prompt that starts halfway has nothing to reuse in its first call; the negative prompt goes on reusing."""
    import node_helpers

    early = node_helpers.conditioning_set_values(
        real.conditioning(1), {"start_percent": 0.0, "end_percent": 0.55}
    )
    late = node_helpers.conditioning_set_values(
        real.conditioning(3), {"start_percent": 0.55, "end_percent": 1.0}
    )
    # Of two lengths, because a method may compute everything in every second call, where nothing would show.
    runs = []
    for steps in (8, 9):
        model = case.cached(steps)
        real.sample(model, steps=steps, cfg=4.0, positive=early + late)
        runs.append(report(model))
    born = [c for run in runs for c in run.calls if c.index > 0 and sum(c.computed) and sum(c.reused)]
    assert born
    assert all(set(call.computed) == {1} for call in born), "only the new branch computes"
    assert all(set(call.reused) == {1} for call in born), "the other branch reuses what the decision gives it"
    assert all(sum(run.calls[-2].computed) in (0, 2 * len(run.sites)) for run in runs), (
        "caching resumes for both"
    )


def test_3_batched_and_separate_branches_agree(
    case: Case, report: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = case.cached()
    batched, batched_report = real.sample(model, steps=STEPS, cfg=4.0), report(model)
    monkeypatch.setattr(case.plain.model, "memory_required", lambda *args, **kwargs: 1e30)
    separate, separate_report = real.sample(model, steps=STEPS, cfg=4.0), report(model)
    assert [call.reused for call in separate_report.calls] == [call.reused for call in batched_report.calls]
    assert batched_report.num_reused > 0
    torch.testing.assert_close(separate, batched, rtol=1e-5, atol=1e-5 * float(batched.abs().max()))


def test_3_branches_do_not_mix(case: Case) -> None:
    """With guidance, each branch's features are its own: the uncached first step tells them apart, so must reuse."""
    model = case.cached()
    guided = real.sample(model, steps=STEPS, cfg=4.0)
    swapped = real.sample(
        model, steps=STEPS, cfg=-3.0, positive=real.conditioning(2), negative=real.conditioning(1)
    )
    # 4 * a - 3 * b is the same guidance written from the other side.
    torch.testing.assert_close(guided, swapped, rtol=1e-3, atol=1e-3)


def test_4_what_is_handed_out_is_nobody_elses(
    case: Case, host: real.Host, report: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scribbling over every stand-in after use changes nothing, and what is stored is a copy."""
    model = case.cached()
    expected = real.sample(model, steps=STEPS, cfg=4.0)
    session, store = host.module("cache_core.session"), host.module("cache_core.store")
    recall, put = session.Pass.recall, store.FeatureStore.put

    def scribbling_recall(self: Any, site: Any) -> Any:
        feature = recall(self, site)
        copies = tuple(stream.clone() for stream in feature)
        for stream in feature:
            stream.fill_(float("nan"))
        return copies

    def checked_put(self: Any, lane: Any, site: Any, call: Any, feature: Any) -> None:
        put(self, lane, site, call, feature)
        for history, stream in zip(self.histories(lane, site), feature, strict=True):
            assert history[-1].value.untyped_storage().data_ptr() != stream.untyped_storage().data_ptr()

    monkeypatch.setattr(session.Pass, "recall", scribbling_recall)
    monkeypatch.setattr(store.FeatureStore, "put", checked_put)
    assert torch.equal(real.sample(model, steps=STEPS, cfg=4.0), expected)
    assert report(model).end_bytes == 0


def test_4_bytes_are_counted(
    case: Case, host: real.Host, report: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = host.module("cache_core.store").FeatureStore
    held: dict[Any, deque[int]] = {}
    put = store.put

    def weighed_put(self: Any, lane: Any, site: Any, call: Any, feature: Any) -> None:
        put(self, lane, site, call, feature)
        # The store of the indicators keeps as many as it needs, which may be fewer.
        kept = held.setdefault((lane, site), deque(maxlen=self._memory))
        kept.append(sum(stream.numel() * stream.element_size() for stream in feature))

    monkeypatch.setattr(store, "put", weighed_put)
    model = case.cached()
    real.sample(model, steps=STEPS, cfg=4.0)
    assert report(model).peak_bytes == sum(map(sum, held.values()))
    assert report(model).end_bytes == 0


@pytest.mark.parametrize("at", range(STEPS))
@pytest.mark.parametrize("kind", ["error", "interrupt"])
def test_5_a_run_that_breaks_leaves_no_trace(
    case: Case, report: Callable[[Any], Any], at: int, kind: str
) -> None:
    from comfy.model_management import InterruptProcessingException

    error: type[BaseException] = RuntimeError if kind == "error" else InterruptProcessingException
    model = case.cached()
    plain, whole = real.sample(case.plain, steps=STEPS), real.sample(model, steps=STEPS)
    calls = 0

    def fail(module: torch.nn.Module, args: Any, output: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise error("stop here")

    # When the network is done everything was routed, and the patches are still installed.
    handle = real.network_of(case.plain).register_forward_hook(fail)
    with pytest.raises(error):
        real.sample(model, steps=STEPS)
    handle.remove()
    assert report(model).end_bytes == 0
    assert len(report(model).calls) == at + 1
    assert real.instance_forwards(case.plain) == []
    assert torch.equal(real.sample(case.plain, steps=STEPS), plain)
    assert torch.equal(real.sample(model, steps=STEPS), whole)


def test_6_a_new_size_is_a_new_run(case: Case, family: str, report: Callable[[Any], Any]) -> None:
    model = case.cached()
    small = real.sample(model, steps=STEPS)
    real.sample(model, steps=STEPS, size=320 if family == "pixart" else 96)
    assert report(model).num_reused > 0
    assert torch.equal(real.sample(model, steps=STEPS), small)


def test_6_a_changed_patch_set_recomputes_once(case: Case, report: Callable[[Any], Any]) -> None:
    """A patch that another node puts in halfway is a new lane: computed in its first call, reused after."""
    from comfy.patcher_extension import WrappersMP

    model = case.cached(8)
    real.sample(model, steps=8)
    before = [call.full for call in report(model).calls]
    at = before.index(False, 3)
    calls = 0

    def patch_from_there_on(executor: Any, x: Any, timestep: Any, model_options: Any, seed: Any) -> Any:
        nonlocal calls
        if calls >= at:
            model_options["transformer_options"]["patches"] = {"another_nodes_patch": [real.conditioning]}
        calls += 1
        return executor(x, timestep, model_options, seed)

    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "other", patch_from_there_on)
    real.sample(model, steps=8)
    after = [call.full for call in report(model).calls]
    assert after == [full or index == at for index, full in enumerate(before)]


def test_7_equal_seeds_give_equal_results_and_models_do_not_meet(case: Case) -> None:
    loose, strict = case.cached(), case.strict()
    first, other = real.sample(loose, steps=STEPS), real.sample(strict, steps=STEPS)
    assert not torch.equal(first, other)
    assert torch.equal(real.sample(loose, steps=STEPS), first)
    assert torch.equal(real.sample(strict, steps=STEPS), other)


def test_8_refresh_ratio_is_what_the_schedule_says_beforehand(
    case: Case, host: real.Host, report: Callable[[Any], Any]
) -> None:
    """The published arithmetic of a method is in its own test; a schedule that looks first has none."""
    model = case.cached(20)
    policy = host.module("nodes.host").find_binding(model).policy
    real.sample(model, steps=20)
    run, core = report(model), host.module("cache_core")
    computed = sum(call.full for call in run.calls)
    assert run.refresh_ratio == pytest.approx(run.num_computed / (20 * len(run.sites)))
    if policy.indicator is None:
        sites = host.module("nodes.host").adapter_of(case.plain).sites(policy.level)
        sigmas = (*(call.sigma for call in run.calls), 0.0)
        plan = core.Run(sigmas=sigmas, sampler="euler", call_steps=tuple(range(20)))
        predict = host.module("cache_core.prediction").predict_refresh_ratio
        assert run.refresh_ratio == pytest.approx(predict(policy, plan, sites))
    assert 0 < computed < 20


def test_9_invalid_settings_are_refused_before_sampling(case: Case) -> None:
    wrong = []
    for item, details in case.config_type.settings():
        if details.minimum is not None:
            wrong.append((item.name, details.minimum - 1, "at least"))
        if details.maximum is not None:
            wrong.append((item.name, details.maximum + 1, "at most"))
        if details.choices:
            wrong.append((item.name, "something else", "one of"))
    assert wrong
    for name, value, words in wrong:
        with pytest.raises(ValueError, match=rf"'{name}' is .*expected {words}"):
            case.config_type(**{name: value})


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_10_reuse_equals_an_independent_oracle(
    case: Case, host: real.Host, report: Callable[[Any], Any], family: str, cfg: float
) -> None:
    model = case.cached()
    if not _repeats(host, model):
        pytest.skip("its estimate is not the last value; the method's own test has its numbers")
    if _begins_after_the_first_block(host, model):
        pytest.skip(
            "it reuses what follows the first block, which test_first_block.py holds against an oracle"
        )
    actual = real.sample(model, steps=STEPS, cfg=cfg)
    calls = report(model).calls
    full = {call.index for call in calls if call.full}
    assert all(sum(call.computed) == 0 for call in calls if not call.full)
    with oracle.replayed(family, real.network_of(case.plain), case.level, full):
        expected = real.sample(case.plain, steps=STEPS, cfg=cfg)
    plain = real.sample(case.plain, steps=STEPS, cfg=cfg)
    assert not torch.equal(expected, plain), "the oracle must have reused something"
    if case.level == "module":
        assert torch.equal(actual, expected)
    else:
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def _begins_after_the_first_block(host: real.Host, model: Any) -> bool:
    policy = host.module("nodes.host").find_binding(model).policy
    return bool(policy.indicator is host.module("cache_core").Indicator.FIRST_RESIDUAL)


def _repeats(host: real.Host, model: Any) -> bool:
    """Return whether the method's stand-in is the newest feature as it is."""
    core, policy = host.module("cache_core"), host.module("nodes.host").find_binding(model).policy
    # Close together, unguided and in a straight line, where every forecast is trusted.
    run = core.Run(sigmas=tuple(1 - i / 100 for i in range(101)), cfg=1.0)
    calls = [core.Call(index=i, step=i, sigma=run.sigmas[i], run=run) for i in range(policy.memory + 1)]
    site = host.module("nodes.host").adapter_of(model).sites(policy.level)[0]
    history = tuple(
        core.Snapshot(call=call, value=torch.full((1, 4, 64), 1.0 + call.index)) for call in calls[:-1]
    )
    estimate = policy.estimate(history, core.Target(call=calls[-1], site=site, stream=0))
    return torch.equal(estimate, history[-1].value)

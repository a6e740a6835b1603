"""The ten guarantees, for every method x level x family, in the real host.

A new method or family is covered by being registered: nothing here names one, except the oracle, which is
written per family because it must not share code with the adapters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import oracle
import pytest
import real
import torch

import cache_core

STEPS = 6
MODELS: dict[str, Callable[..., Any]] = {
    "flux": real.random_flux,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}
CASES = [
    pytest.param(family, name, level, id=f"{family}-{name}-{level}")
    for family in MODELS
    for name in cache_core.POLICIES
    for item, details in cache_core.POLICIES[name].config_type.settings()
    if item.name == "level"
    for level in details.choices
]
pytestmark = pytest.mark.parametrize(("family", "name", "level"), CASES)


class Case:
    """One cell: a plain model, and cached clones of it."""

    def __init__(self, family: str, name: str, level: str, cached: Callable[..., Any]) -> None:
        self.plain = MODELS[family]()
        self.name, self.level = name, level
        self._cached = cached

    def strict(self) -> Any:
        return self.cached(**cache_core.POLICIES[self.name].strictest)

    def cached(self, **settings: Any) -> Any:
        return self._cached(self.plain, method=self.name, level=self.level, **settings)


@pytest.fixture
def case(host: real.Host, cached: Callable[..., Any], family: str, name: str, level: str) -> Case:
    return Case(family, name, level, cached)


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
    model = case.cached(interval=3, anchor="start")
    real.sample(model, steps=8, cfg=4.0, positive=early + late)
    run = report(model)
    born = next(call for call in run.calls if call.index > 0 and sum(call.computed) and sum(call.reused))
    assert set(born.computed) == {1}, "only the new branch computes"
    assert set(born.reused) == {1}, "the other branch reuses what the decision gives it"
    following = run.calls[born.index + 1]
    assert sum(following.computed) in (0, 2 * len(run.sites)), "caching resumes for both"


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
    model = case.cached(interval=3)
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
    held: dict[Any, int] = {}
    put = store.put

    def weighed_put(self: Any, lane: Any, site: Any, call: Any, feature: Any) -> None:
        put(self, lane, site, call, feature)
        held[lane, site] = sum(stream.numel() * stream.element_size() for stream in feature)

    monkeypatch.setattr(store, "put", weighed_put)
    model = case.cached()
    real.sample(model, steps=STEPS, cfg=4.0)
    assert report(model).peak_bytes == sum(held.values())
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

    model = case.cached(interval=4, anchor="start")

    calls = 0

    def patch_from_call_three(executor: Any, x: Any, timestep: Any, model_options: Any, seed: Any) -> Any:
        nonlocal calls
        if calls >= 3:
            model_options["transformer_options"]["patches"] = {"another_nodes_patch": [real.conditioning]}
        calls += 1
        return executor(x, timestep, model_options, seed)

    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "other", patch_from_call_three)
    real.sample(model, steps=8)
    computed = [sum(call.computed) > 0 for call in report(model).calls]
    assert computed == [True, False, False, True, True, False, False, False]


def test_7_equal_seeds_give_equal_results_and_models_do_not_meet(case: Case) -> None:
    two, three = case.cached(interval=2), case.cached(interval=3)
    first, other = real.sample(two, steps=STEPS), real.sample(three, steps=STEPS)
    assert not torch.equal(first, other)
    assert torch.equal(real.sample(two, steps=STEPS), first)
    assert torch.equal(real.sample(three, steps=STEPS), other)


@pytest.mark.parametrize("anchor", ["end", "start"])
@pytest.mark.parametrize("interval", [2, 3, 5])
def test_8_refresh_ratio_is_the_papers_arithmetic(
    case: Case, report: Callable[[Any], Any], anchor: str, interval: int
) -> None:
    model = case.cached(interval=interval, anchor=anchor)
    real.sample(model, steps=20)
    full = oracle.fora_full_calls(20, interval, anchor)
    run = report(model)
    assert [call.full for call in run.calls] == [i in full for i in range(20)]
    assert run.refresh_ratio == pytest.approx(len(full) / 20)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interval": 0}, ("'interval'", "0", "at least 1")),
        ({"interval": 1000}, ("'interval'", "1000", "at most 100")),
        ({"anchor": "middle"}, ("'anchor'", "'middle'", "'end', 'start'")),
        ({"interval": 0, "anchor": "middle"}, ("'interval'", "'anchor'")),
    ],
)
def test_9_invalid_settings_are_refused_before_sampling(
    case: Case, settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        case.cached(**settings)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("interval", [2, 3])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_10_reuse_equals_an_independent_oracle(case: Case, family: str, cfg: float, interval: int) -> None:
    model = case.cached(interval=interval)
    actual = real.sample(model, steps=STEPS, cfg=cfg)
    full = oracle.fora_full_calls(STEPS, interval, "end")
    with oracle.replayed(family, real.network_of(case.plain), case.level, full):
        expected = real.sample(case.plain, steps=STEPS, cfg=cfg)
    plain = real.sample(case.plain, steps=STEPS, cfg=cfg)
    assert not torch.equal(expected, plain), "the oracle must have reused something"
    if case.level == "module":
        assert torch.equal(actual, expected)
    else:
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))

"""What dynamic schedules look at in the real networks, against plain hooks; and a dynamic method end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dynamic
import pytest
import real
import torch

STEPS = 6
MODELS: dict[str, Callable[..., Any]] = {
    "flux": real.random_flux,
    "flux2": real.random_flux2,
    "chroma": real.random_chroma,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}
EMBEDDERS = {"flux": "time_in", "flux2": "time_in", "sd3": "t_embedder", "pixart": "t_embedder"}
ATTENTION = {
    "flux": "double_blocks.0.img_attn.qkv",
    "flux2": "double_blocks.0.img_attn.qkv",
    "chroma": "double_blocks.0.img_attn.qkv",
    "sd3": "joint_blocks.0.x_block.attn.qkv",
    "pixart": "blocks.0.attn",
}


@pytest.fixture
def attach(host: real.Host) -> Callable[..., Any]:
    """Return a function that puts the dynamic test method on a MODEL."""
    core, binding = host.module("cache_core"), host.module("nodes.host")
    last_call, last_computed = dynamic.threshold_types(core)

    def attach(model: Any, *, policy: Any = None, start: float = 0.0, **settings: Any) -> Any:
        cls = last_computed if settings.get("indicator") == "first_residual" else last_call
        policy = policy or cls(cls.config_type(**settings))
        return binding.attach(model, binding.CacheBinding(policy, start, 1.0))

    return attach


class _Seen:
    """Collects, with plain hooks, what a network shows in every pass, first branch only."""

    def __init__(self, family: str, network: Any, num_branches: int) -> None:
        self.by_name: dict[str, list[torch.Tensor]] = {}
        self._num = num_branches
        first = network.get_submodule(".".join(ATTENTION[family].split(".")[:2]))
        network.register_forward_pre_hook(lambda m, args: self._add("network_input", args[0]))
        if family in EMBEDDERS:
            embedder = network.get_submodule(EMBEDDERS[family])
            embedder.register_forward_hook(lambda m, args, out: self._add("timestep_embedding", out))
        network.get_submodule(ATTENTION[family]).register_forward_pre_hook(
            lambda m, args: self._add("modulated_input", args[0])
        )
        first.register_forward_pre_hook(self._enter, with_kwargs=True)
        first.register_forward_hook(lambda m, args, out: self._leave(out))

    def _add(self, name: str, value: torch.Tensor) -> None:
        self.by_name.setdefault(name, []).append(value.chunk(self._num)[0].clone())

    def _enter(self, module: Any, args: Any, kwargs: Any) -> None:
        # Two positional streams are SD3's (context, x); else the first one is the picture's.
        image = kwargs["img"] if "img" in kwargs else args[len(args) == 2]
        self._entered = image.clone()

    def _leave(self, output: Any) -> None:
        streams = [output] if torch.is_tensor(output) else list(output)
        image = next(s for s in streams if s is not None and s.shape == self._entered.shape)
        self._add("first_residual", image - self._entered)

    def changes(self, name: str) -> list[float]:
        values = self.by_name[name]
        pairs = zip(values[1:], values[:-1], strict=True)
        return [float((new - old).abs().mean() / old.abs().mean()) for new, old in pairs]


CELLS = [
    (f, i)
    for f in MODELS
    for i in ("network_input", "timestep_embedding", "modulated_input", "first_residual")
]


@pytest.mark.parametrize(
    ("family", "indicator"), [cell for cell in CELLS if cell != ("chroma", "timestep_embedding")]
)
def test_what_is_observed_is_what_plain_hooks_see(
    host: real.Host, attach: Callable[..., Any], report: Callable[[Any], Any], family: str, indicator: str
) -> None:
    """Nothing is reused, so the plain model shows the same; guidance puts two branches in every pass."""
    plain = MODELS[family]()
    model = attach(plain, threshold=0.0, indicator=indicator)
    actual = real.sample(model, steps=STEPS, cfg=4.0)
    run = report(model)
    seen = _Seen(family, real.network_of(plain), num_branches=2)
    assert torch.equal(actual, real.sample(plain, steps=STEPS, cfg=4.0))
    assert run.num_reused == 0
    assert run.calls[0].observed is None
    assert [call.observed for call in run.calls[1:]] == pytest.approx(seen.changes(indicator), rel=1e-4)
    assert max(seen.changes(indicator)) > 0


@pytest.mark.parametrize("level", ["module", "block", "stack", "model"])
@pytest.mark.parametrize("family", MODELS)
def test_no_change_is_too_big_for_a_huge_threshold(
    host: real.Host, attach: Callable[..., Any], report: Callable[[Any], Any], family: str, level: str
) -> None:
    plain = MODELS[family]()
    indicator = "network_input" if level == "model" else "modulated_input"
    model = attach(plain, threshold=1e6, indicator=indicator, level=level)
    picture = real.sample(model, steps=STEPS, cfg=4.0)
    calls = report(model).calls
    assert [call.full for call in calls] == [True] + [False] * (STEPS - 1)
    assert all(sum(call.computed) == 0 for call in calls[1:])
    assert report(model).end_bytes == 0
    assert picture.isfinite().all()
    assert real.instance_forwards(plain) == []


@pytest.mark.parametrize("level", ["module", "block", "stack"])
@pytest.mark.parametrize("family", MODELS)
def test_a_first_block_that_decides_is_always_computed(
    host: real.Host, attach: Callable[..., Any], report: Callable[[Any], Any], family: str, level: str
) -> None:
    plain = MODELS[family]()
    model = attach(plain, threshold=1e6, indicator="first_residual", level=level)
    runs = 0

    def count(*args: Any) -> None:
        nonlocal runs
        runs += 1

    first = real.network_of(plain).get_submodule(".".join(ATTENTION[family].split(".")[:2]))
    handle = first.register_forward_hook(count)
    picture = real.sample(model, steps=STEPS)
    handle.remove()
    assert runs == STEPS
    run = report(model)
    inside = [
        number
        for number, name in enumerate(run.sites)
        if name.startswith(ATTENTION[family].split(".")[0] + ".0.")
    ]
    if level == "stack":
        inside = []
    for call in run.calls[1:]:
        assert [number for number, count in enumerate(call.computed) if count] == inside
    assert not torch.equal(picture, real.sample(plain, steps=STEPS))


@pytest.mark.parametrize("family", MODELS)
def test_batched_and_separate_branches_decide_alike(
    host: real.Host,
    attach: Callable[..., Any],
    report: Callable[[Any], Any],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
) -> None:
    """The host lists branches in the same order in one batch and in batches of one, so the same branch decides."""
    plain = MODELS[family]()
    changes = _observed(attach, report, plain, threshold=0.0)
    threshold = sum(changes[:2]) * 0.99
    model = attach(plain, threshold=threshold, indicator="modulated_input")
    batched, batched_run = real.sample(model, steps=STEPS, cfg=4.0), report(model)
    monkeypatch.setattr(plain.model, "memory_required", lambda *args, **kwargs: 1e30)
    separate, separate_run = real.sample(model, steps=STEPS, cfg=4.0), report(model)
    assert [call.reused for call in batched_run.calls] == [call.reused for call in separate_run.calls]
    assert [call.observed for call in batched_run.calls[1:]] == pytest.approx(
        [call.observed for call in separate_run.calls[1:]], rel=1e-3
    )
    assert batched_run.num_reused > 0
    torch.testing.assert_close(separate, batched, rtol=1e-4, atol=1e-5 * float(batched.abs().max()))


def _observed(attach: Any, report: Any, plain: Any, threshold: float) -> list[float]:
    model = attach(plain, threshold=threshold, indicator="modulated_input")
    real.sample(model, steps=STEPS, cfg=4.0)
    return [call.observed for call in report(model).calls[1:]]


def test_the_branch_that_the_host_lists_first_decides(
    host: real.Host, attach: Callable[..., Any], report: Callable[[Any], Any], flux: Any
) -> None:
    """Batched, the host lists the negative prompt first: what it alone shows is what is observed."""
    model = attach(flux, threshold=0.0, indicator="modulated_input")
    real.sample(model, steps=STEPS, cfg=4.0)
    both = [call.observed for call in report(model).calls]
    seen = _Seen("flux", real.network_of(flux), num_branches=2)
    real.sample(flux, steps=STEPS, cfg=4.0)
    assert both[1:] == pytest.approx(seen.changes("modulated_input"), rel=1e-4)


def test_calls_before_the_start_compute_but_are_observed(
    host: real.Host, attach: Callable[..., Any], report: Callable[[Any], Any], flux: Any
) -> None:
    model = attach(flux, threshold=1e6, indicator="modulated_input", start=0.5)
    real.sample(model, steps=STEPS)
    calls = report(model).calls
    fulls = [call.full for call in calls]
    assert fulls == sorted(fulls, reverse=True)
    assert sum(fulls) > 1
    assert all(call.observed is not None for call in calls[1:])


def test_reference_images_are_part_of_the_indicator_and_the_grid_is_the_pictures(
    host: real.Host, attach: Callable[..., Any]
) -> None:
    import node_helpers

    seen: list[tuple[tuple[int, ...], tuple[int, int]]] = []
    core = host.module("cache_core")
    threshold, _ = dynamic.threshold_types(core)

    class Looking(threshold):  # type: ignore[misc,valid-type]
        def measure(self, current: Any, previous: Any) -> Any:
            seen.append((tuple(current.value.shape), current.grid))
            return super().measure(current, previous)

    model = real.random_flux2()
    latent = torch.randn(1, *real.latent_shape(model), generator=torch.Generator().manual_seed(5))
    values = {"reference_latents": [latent], "reference_latents_method": "index_timestep_zero"}
    positive = node_helpers.conditioning_set_values(real.conditioning(1), values)
    policy = Looking(threshold.config_type(indicator="modulated_input"))
    real.sample(attach(model, policy=policy), steps=3, positive=positive)
    _, height, width = real.latent_shape(model)
    assert seen[0] == ((1, 2 * height * width, 128), (height, width))


def test_a_family_without_the_indicator_is_refused_before_sampling(
    host: real.Host, attach: Callable[..., Any]
) -> None:
    with pytest.raises(
        ValueError,
        match=r"'timestep_embedding'.*family 'chroma' does not show.*it shows 'network_input', 'modulated_input'",
    ):
        attach(real.random_chroma(), indicator="timestep_embedding")


def test_a_level_that_is_over_before_the_indicator_is_refused(
    host: real.Host, attach: Callable[..., Any], flux: Any
) -> None:
    with pytest.raises(
        ValueError, match=r"'modulated_input'.*level 'model'; it shows 'network_input'\. Choose"
    ):
        attach(flux, indicator="modulated_input", level="model")

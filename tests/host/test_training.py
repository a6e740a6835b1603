"""Training on tiny real models: the router's gradient on each family, and what the host's sampling lends."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import real
import torch

FAMILIES = {
    "flux": real.random_flux,
    "flux2": real.random_flux2,
    "chroma": real.random_chroma,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}


@pytest.fixture
def trajectory(host: real.Host) -> Callable[..., Any]:
    """Return a function that makes a trajectory of a MODEL, which is loaded in inference mode as nodes load it."""

    def make(model: Any, steps: int = 2, cfg: float = 3.0, sampler: str = "euler", **inputs: Any) -> Any:
        settings = host.module("nodes.uncached").KSamplerSettings(
            steps=steps, cfg=cfg, sampler=sampler, scheduler="simple"
        )
        latent = {"samples": torch.zeros(1, *real.latent_shape(model))}
        given = {"prompts": [real.conditioning(1)], "negative": real.conditioning(2), "latent": latent}
        return host.module("nodes.trajectory").HostTrajectory(model, settings, **(given | inputs))

    return make


@pytest.fixture
def draw(host: real.Host) -> Callable[..., Any]:
    """Return a function that makes a draw of the first prompt and one picture."""
    made = host.module("cache_core.training.trajectory").Draw
    return lambda **changes: made(**({"prompt": 0, "seeds": (1,)} | changes))


def loaded(make: Callable[[], Any]) -> Any:
    """Return a MODEL as a loader node makes it: in inference mode."""
    with torch.inference_mode():
        return make()


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [True, False], ids=["recomputed", "kept"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_routers_gradient_is_the_finite_difference(
    host: real.Host, trajectory: Callable[..., Any], draw: Callable[..., Any], family: str, recompute: bool
) -> None:
    core = host.module("cache_core")
    gradients, router = (host.module(f"cache_core.training.{name}") for name in ("gradients", "router"))
    method, session_of = (host.module(f"cache_core.training.{name}") for name in ("method", "session"))
    model = loaded(FAMILIES[family])
    sites = host.module("nodes.host").adapter_of(model).sites(core.Level.MODULE)
    session = session_of.TrainingSession(core.Level.MODULE, recompute=recompute)
    shares = torch.linspace(0.2, 0.8, len(sites))
    direction = torch.randn(len(sites), generator=torch.Generator().manual_seed(3))
    found: list[tuple[float, float]] = []

    def handle(call: Any, predict: Any) -> torch.Tensor:
        teacher = method.teach(session, call, session_of.Computed(), predict)
        if call.step == 0:
            session.commit()
            return teacher

        def error(shift: float) -> float:
            mixed = method.teach(session, call, router.Mixture(sites, shares + shift * direction), predict)
            return float(method.distortion(teacher, mixed, call))

        with torch.enable_grad(), gradients.writable():
            (leaf,) = gradients.leaves_of([shares])
            student = session.evaluate(call, router.Mixture(sites, leaf), predict)
            method.distortion(teacher, student, call).backward()
        assert (leaf.grad != 0).all()
        found.append((float(leaf.grad @ direction), (error(0.02) - error(-0.02)) / 0.04))
        return teacher

    trajectory(model).sample(draw(), handle)
    ((slope, measured),) = found
    assert slope == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun"])
def test_a_training_that_changes_nothing_samples_as_ksampler_does(
    host: real.Host, trajectory: Callable[..., Any], draw: Callable[..., Any], flux: Any, sampler: str
) -> None:
    core, training = host.module("cache_core"), host.module("cache_core.training.session")
    session, steps = training.TrainingSession(core.Level.MODULE), []

    def handle(call: Any, predict: Any) -> torch.Tensor:
        steps.append(call.step)
        return session.evaluate(call, training.Computed(), predict)

    end = trajectory(flux, steps=3, sampler=sampler).sample(draw(), handle)
    plain = real.sample(flux, steps=3, cfg=3.0, sampler=sampler, seed=1)
    assert torch.equal(end, plain)
    assert steps == ([0, 0, 1, 1, 2] if sampler == "heun" else [0, 1, 2])


def test_a_part_of_the_schedule_begins_from_clean_pictures_with_noise(
    trajectory: Callable[..., Any], draw: Callable[..., Any], flux: Any
) -> None:
    clean = torch.full((1, *real.latent_shape(flux)), 2.0)
    lent = trajectory(flux, steps=4, clean={"samples": clean})
    seen: list[tuple[int, float]] = []

    def handle(call: Any, predict: Any) -> torch.Tensor:
        seen.append((call.step, call.sigma))
        return torch.zeros(1, *real.latent_shape(flux))

    lent.sample(draw(first=2, stop=4, clean=True), handle)
    assert [step for step, _ in seen] == [2, 3]
    assert [sigma for _, sigma in seen] == pytest.approx(lent.run.sigmas[2:4])


def test_nothing_is_left_on_the_model(
    host: real.Host, trajectory: Callable[..., Any], draw: Callable[..., Any]
) -> None:
    import comfy.model_management

    model = loaded(real.random_flux)
    before = {name: (id(p), p.requires_grad) for name, p in real.network_of(model).named_parameters()}
    core = host.module("cache_core")
    session = host.module("cache_core.training.session").TrainingSession(core.Level.MODULE)

    def handle(call: Any, predict: Any) -> torch.Tensor:
        assert comfy.model_management.in_training
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trajectory(model).sample(draw(), handle)
    after = {name: (id(p), p.requires_grad) for name, p in real.network_of(model).named_parameters()}
    assert after == before
    assert real.instance_forwards(model) == []
    assert not comfy.model_management.in_training
    assert not model.wrappers
    assert session.call is None


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"prompts": []}, "'positive' holds no prompt"),
        ({"sampler": "dpm_adaptive"}, "the sampler 'dpm_adaptive' decides while it samples"),
        ({"clean": {"samples": torch.zeros(1, 16, 4, 4)}}, "the clean pictures have 32 x 32 pixels"),
    ],
)
def test_inputs_that_cannot_be_trained_on_are_refused(
    host: real.Host, trajectory: Callable[..., Any], flux: Any, inputs: dict[str, Any], text: str
) -> None:
    with pytest.raises(host.module("cache_core").CacheError, match=text):
        trajectory(flux, **inputs)


def test_a_gpu_gives_what_is_free_and_what_the_host_can_unload(
    host: real.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management

    gpu, giga = torch.device("cuda", 0), 2**30
    loaded_models = [
        SimpleNamespace(device=gpu, model_loaded_memory=lambda: 4 * giga),
        SimpleNamespace(device=torch.device("cpu"), model_loaded_memory=lambda: 7 * giga),
    ]
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 10 * giga)
    monkeypatch.setattr(comfy.model_management, "current_loaded_models", loaded_models)
    model = SimpleNamespace(load_device=gpu, model_size=lambda: 6 * giga)
    assert host.module("nodes.trajectory").free_bytes(model) == 8 * giga


def peak_of(run: Callable[[], Any]) -> int:
    """Return the most bytes that were allocated at one time while `run` ran."""
    gc.collect()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recompute", [True, False], ids=["recomputed", "kept"])
@pytest.mark.parametrize("method", ["harmonica", "scale_shift"])
@pytest.mark.parametrize(("family", "side"), [("flux", 32), ("pixart", 34)])
def test_a_training_takes_what_was_foreseen(
    host: real.Host, tmp_path: Path, family: str, side: int, method: str, recompute: bool
) -> None:
    core, training = host.module("cache_core"), host.module("nodes.router_training")
    model = loaded(FAMILIES[family])
    adapter = host.module("nodes.host").adapter_of(model)
    settings = host.module("nodes.uncached").KSamplerSettings(
        steps=2, cfg=1.0, sampler="euler", scheduler="simple"
    )
    change = torch.full((2, len(adapter.sites(core.Level.BLOCK))), 9.0)
    change[1, 1::2] = 0.001
    profile = core.Artefact(
        kind=core.Kind.PROFILE,
        method="block_caching",
        architecture=core.fingerprint(adapter, core.Level.BLOCK),
        sampling=core.Sampling(num_steps=2),
        tensors={"profile": change},
    )
    config = core.TRAININGS[method].config_type(**({"profile": profile} if method == "scale_shift" else {}))
    order = training.Order(
        model=model,
        prompts=[real.conditioning(1)],
        negative=real.conditioning(2),
        latent={"samples": torch.zeros(1, real.latent_shape(model)[0], side, side)},
        clean=None,
        settings=settings,
        method=method,
        config=config,
        iterations=1,
        seed=0,
        folder=tmp_path,
        recompute=recompute,
    )
    with torch.inference_mode(False):
        made = training._training(order)
        made.iterate(1)
        found = peak_of(lambda: made.iterate(2))
    foreseen = training.foreseen_bytes(order, made)
    assert 0.5 < found / foreseen < 1.1


def test_the_needed_memory_grows_with_picture_and_without_checkpoints(host: real.Host, flux: Any) -> None:
    core, memory = host.module("cache_core"), host.module("cache_core.training.memory")
    adapter = host.module("nodes.host").adapter_of(flux)

    def needed(side: int, recompute: bool) -> int:
        extent = core.Extent(latent=(1, 16, side, side), text=8)
        return memory.needed_bytes(
            adapter, core.Level.MODULE, [extent], memory.Holdings(), recompute=recompute
        )

    assert needed(8, True) < needed(8, False)
    assert math.isclose(needed(32, True) / needed(8, True), 16, rel_tol=0.4)

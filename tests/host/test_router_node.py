"""The node `L2CRouterLoader` and its files, in the real host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import published
import pytest
import real
import torch

import cache_core

FROM_FILE = {"threshold": "from file"}
MODELS: dict[str, Callable[..., Any]] = {
    "flux": real.random_flux,
    "sd3": real.random_sd3,
    "pixart": real.random_pixart,
}


@pytest.fixture
def folder(host: real.Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder that the host looks for artefacts in, as extra_model_paths.yaml would name it."""
    import folder_paths

    paths, extensions = folder_paths.folder_names_and_paths["feature_cache"]
    entry = ([*paths, str(tmp_path)], extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "feature_cache", entry)
    return tmp_path


@pytest.fixture
def loader(host: real.Host) -> Callable[..., Any]:
    """Return a function that does what the node does."""

    def load(
        model: Any,
        artefact: str,
        threshold: float | None = None,
        start: float = 0.0,
        end: float = 1.0,
        **others: Any,
    ) -> Any:
        given = FROM_FILE if threshold is None else {"threshold": "set here", "value": threshold}
        return host.nodes["L2CRouterLoader"].execute(model, artefact, given, start, end, **others)[0]

    return load


def _network(model: Any, level: cache_core.Level = cache_core.Level.MODULE) -> tuple[Any, tuple[Any, ...]]:
    """Return the fingerprint and the sites of a MODEL."""
    network = real.network_of(model)
    adapter = cache_core.find_adapter(network)(network)
    return cache_core.fingerprint(adapter, level), adapter.sites(level)


def _save(folder: Path, artefact: cache_core.Artefact, name: str = "x.safetensors") -> str:
    cache_core.write_artefact(artefact, folder / name)
    return name


def _half_router(model: Any, method: str, num_steps: int = 6, **sampling: Any) -> cache_core.Artefact:
    network, sites = _network(model)
    return published.router(published.half_scores(num_steps, len(sites)), network, method, **sampling)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("method", ["learning_to_cache", "harmonica"])
def test_threshold_zero_is_bit_identical_and_routes_every_site(
    host: real.Host,
    folder: Path,
    loader: Callable[..., Any],
    report: Callable[[Any], Any],
    family: str,
    method: str,
) -> None:
    plain = MODELS[family]()
    model = loader(plain, _save(folder, _half_router(plain, method)), threshold=0.0)
    assert torch.equal(real.sample(model, cfg=4.0), real.sample(plain, cfg=4.0))
    run = report(model)
    assert (run.num_reused, run.num_computed) == (0, 6 * len(run.sites) * 2)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("method", ["learning_to_cache", "harmonica"])
def test_the_counted_refresh_ratio_is_the_files_own(
    host: real.Host,
    folder: Path,
    loader: Callable[..., Any],
    report: Callable[[Any], Any],
    family: str,
    method: str,
) -> None:
    plain = MODELS[family]()
    router = _half_router(plain, method)
    model = loader(plain, _save(folder, router))
    real.sample(model)
    table = router.tensors["score"] > 0
    table[0] = True
    if method == "learning_to_cache":
        table[[2, 4]] = True
    assert report(model).refresh_ratio == pytest.approx(float(table.float().mean()))
    assert [list(call.computed) for call in report(model).calls] == table.int().tolist()


@pytest.mark.parametrize("family", MODELS)
def test_a_mask_equals_an_independent_oracle(
    host: real.Host, folder: Path, loader: Callable[..., Any], report: Callable[[Any], Any], family: str
) -> None:
    """A mask that computes whole steps is FORA's schedule; the oracle replays that with forward hooks."""
    plain = MODELS[family]()
    network, sites = _network(plain)
    compute = torch.tensor([[step in (0, 3, 5)] * len(sites) for step in range(6)])
    model = loader(plain, _save(folder, published.mask(compute, network)))
    actual = real.sample(model, cfg=4.0)
    with oracle.replayed(family, real.network_of(plain), "module", {0, 3, 5}):
        expected = real.sample(plain, cfg=4.0)
    assert torch.equal(actual, expected)
    assert not torch.equal(actual, real.sample(plain, cfg=4.0))


def test_a_mask_of_single_sites_reuses_just_those(
    host: real.Host, folder: Path, loader: Callable[..., Any], report: Callable[[Any], Any], flux: Any
) -> None:
    network, sites = _network(flux)
    compute = torch.ones(6, len(sites), dtype=torch.bool)
    compute[3, 2] = False
    model = loader(flux, _save(folder, published.mask(compute, network)))
    real.sample(model)
    assert [(call.index, call.reused.index(1)) for call in report(model).calls if sum(call.reused)] == [
        (3, 2)
    ]
    assert str(sites[2]) == report(model).sites[2]


def test_a_list_of_full_steps_works_on_the_stack(
    host: real.Host, folder: Path, loader: Callable[..., Any], report: Callable[[Any], Any], flux: Any
) -> None:
    network, _ = _network(flux, cache_core.Level.STACK)
    model = loader(flux, _save(folder, published.mask(torch.tensor([[True], [False], [True]]), network)))
    real.sample(model, steps=3)
    assert report(model).level == "stack"
    assert [call.full for call in report(model).calls] == [True, False, True]


def test_published_router_files_are_read_as_they_are(
    host: real.Host, folder: Path, loader: Callable[..., Any], report: Callable[[Any], Any]
) -> None:
    plain = real.random_pixart()
    blocks = len(real.network_of(plain).blocks)  # type: ignore[arg-type]
    published.save_routers(folder / "DDIM6_router.pt", [torch.full((2 * blocks,), -5.0)] * 6)
    model = loader(plain, "DDIM6_router.pt")
    real.sample(model)
    # Cross-attention has no score: in the three cached steps it alone is computed.
    assert [sum(call.computed) for call in report(model).calls] == [3 * blocks, blocks] * 3


def test_other_steps_are_mapped_with_a_warning(
    host: real.Host,
    folder: Path,
    loader: Callable[..., Any],
    report: Callable[[Any], Any],
    flux: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    network, sites = _network(flux, cache_core.Level.MODULE)
    compute = torch.tensor([[step % 2 == 0] * len(sites) for step in range(8)])
    model = loader(flux, _save(folder, published.mask(compute, network, sigmas=_sigmas(flux, 8))))
    with caplog.at_level(logging.WARNING, "cache_core"):
        real.sample(model, steps=8)
        assert caplog.messages == []
        real.sample(model, steps=4)
    [warning] = caplog.messages
    assert "'x.safetensors' was made for 8 steps; each of the 4 steps of this run follows" in warning
    assert [call.full for call in report(model).calls] == [True, True, True, True], "rows 0, 2, 4, 6"
    assert report(model).notes == (warning,)
    assert warning in host.nodes["FeatureCacheReport"].execute(model, {}).result[1]


def test_steps_that_cannot_be_mapped_are_refused_before_the_first_call(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any
) -> None:
    model = loader(flux, _save(folder, _half_router(flux, "harmonica")))
    with pytest.raises(
        ValueError, match=r"made for 6 steps. This run has 7 steps of 'euler': it does not say"
    ):
        real.sample(model, steps=7, callback=lambda *args: pytest.fail("a step was made"))
    assert real.instance_forwards(flux) == []


def _sigmas(model: Any, steps: int) -> tuple[float, ...]:
    import comfy.samplers

    sampling = model.get_model_object("model_sampling")
    return tuple(comfy.samplers.calculate_sigmas(sampling, "simple", steps).tolist())


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("method", ["learning_to_cache", "harmonica"])
def test_batched_and_separate_branches_agree(
    host: real.Host,
    folder: Path,
    loader: Callable[..., Any],
    report: Callable[[Any], Any],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    method: str,
) -> None:
    plain = MODELS[family]()
    model = loader(plain, _save(folder, _half_router(plain, method)))
    batched, counts = real.sample(model, cfg=4.0), [call.reused for call in report(model).calls]
    monkeypatch.setattr(plain.model, "memory_required", lambda *args, **kwargs: 1e30)
    separate = real.sample(model, cfg=4.0)
    assert [call.reused for call in report(model).calls] == counts
    torch.testing.assert_close(separate, batched, rtol=1e-5, atol=1e-5 * float(batched.abs().max()))


def test_a_run_that_breaks_leaves_no_trace(
    host: real.Host, folder: Path, loader: Callable[..., Any], report: Callable[[Any], Any], flux: Any
) -> None:
    model = loader(flux, _save(folder, _half_router(flux, "harmonica")))
    plain, whole = real.sample(flux), real.sample(model)

    def fail(step: int, *args: Any) -> None:
        if step == 3:
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        real.sample(model, callback=fail)
    assert report(model).end_bytes == 0
    assert real.instance_forwards(flux) == []
    assert torch.equal(real.sample(flux), plain)
    assert torch.equal(real.sample(model), whole)


def test_a_file_for_another_model_is_refused(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any
) -> None:
    name = _save(folder, _half_router(real.random_pixart(), "harmonica"))
    with pytest.raises(ValueError, match=r"is for the family 'pixart', this MODEL is 'flux'.*Choose a file"):
        loader(flux, name)


def test_a_file_of_another_kind_is_refused(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any
) -> None:
    network, _ = _network(flux)
    coefficients = cache_core.Artefact(
        kind=cache_core.Kind.COEFFICIENTS,
        method="teacache",
        architecture=network,
        sampling=cache_core.Sampling(),
        tensors={"coefficients": torch.ones(5)},
    )
    with pytest.raises(
        ValueError, match=r"of kind 'coefficients', method 'teacache', for flux.*takes routers and masks"
    ):
        loader(flux, _save(folder, coefficients))


def test_a_threshold_for_a_mask_is_refused(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any
) -> None:
    network, sites = _network(flux)
    name = _save(folder, published.mask(torch.ones(6, len(sites), dtype=torch.bool), network))
    with pytest.raises(ValueError, match=r"'threshold' is set, but 'x.safetensors' is a mask"):
        loader(flux, name, threshold=0.5)


@pytest.mark.parametrize(("threshold", "text"), [(-0.1, "at least 0.0"), (1.1, "at most 1.0")])
def test_a_threshold_out_of_bounds_is_refused(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any, threshold: float, text: str
) -> None:
    with pytest.raises(ValueError, match=f"'threshold' is {threshold}, expected {text}"):
        loader(flux, _save(folder, _half_router(flux, "harmonica")), threshold=threshold)


def test_an_empty_window_is_refused(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any
) -> None:
    with pytest.raises(ValueError, match=r"'start_percent' is 0.6 and 'end_percent' 0.5"):
        loader(flux, _save(folder, _half_router(flux, "harmonica")), start=0.6, end=0.5)


def test_the_files_own_threshold_is_followed_unless_one_is_set(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any
) -> None:
    name = _save(folder, _half_router(flux, "harmonica"))
    binding = host.module("nodes.host").find_binding
    assert binding(loader(flux, name)).policy.describe() == "router='x.safetensors', threshold=0.1"
    assert binding(loader(flux, name, threshold=0.5)).policy.describe().endswith("threshold=0.5")


def test_a_missing_file_is_named_with_what_it_was_for(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any
) -> None:
    _save(folder, _half_router(flux, "harmonica"), "here.safetensors")
    node = host.nodes["L2CRouterLoader"]
    text = node.validate_inputs("gone.safetensors", "FLUX.1-dev, 20 steps, from example.org")
    for part in (
        "'gone.safetensors' is not here",
        "made for: FLUX.1-dev, 20 steps, from example.org.",
        "'models/feature_cache'",
        "extra_model_paths.yaml",
        "here.safetensors",
    ):
        assert part in text
    with pytest.raises(ValueError, match=r"'gone.safetensors' is not here. It was made for: Flux"):
        loader(flux, "gone.safetensors", made_for="Flux")
    assert node.validate_inputs("here.safetensors") is True


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "x/../../y.pt", ""])
def test_a_name_that_leaves_the_folder_is_missing(
    host: real.Host, folder: Path, loader: Callable[..., Any], flux: Any, name: str
) -> None:
    (folder.parent / "secret.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="is not here"):
        loader(flux, name)


def test_only_readable_kinds_of_files_are_listed(host: real.Host, folder: Path) -> None:
    for name in (
        "a.safetensors",
        "sub/b.json",
        "c.pt",
        "d.pth",
        "e.txt",
        "f.ckpt",
        ".g.safetensors.12.partial",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    names = set(host.module("nodes.artefact_files").artefact_names())
    assert {"a.safetensors", str(Path("sub") / "b.json"), "c.pt", "d.pth"} <= names
    assert not {"e.txt", "f.ckpt", ".g.safetensors.12.partial", "README.md"} & names


def test_only_schedules_are_offered(host: real.Host, folder: Path, flux: Any) -> None:
    network, _ = _network(flux)
    _save(folder, _half_router(flux, "harmonica"), "router.safetensors")
    coefficients = cache_core.Artefact(
        kind=cache_core.Kind.COEFFICIENTS,
        method="teacache",
        architecture=network,
        sampling=cache_core.Sampling(),
        tensors={"coefficients": torch.ones(5)},
    )
    _save(folder, coefficients, "fit.safetensors")
    (folder / "DDIM20_router.pt").touch()
    (folder / "broken.safetensors").touch()
    names = set(host.module("nodes.artefact_files").schedules())
    assert {"router.safetensors", "DDIM20_router.pt", "flux_dev_50_steps_9_full.safetensors"} <= names
    assert not {"fit.safetensors", "broken.safetensors"} & names


def test_what_ships_is_listed_and_names_real_sites(host: real.Host, flux: Any) -> None:
    files = host.module("nodes.artefact_files")
    shipped = sorted(path.name for path in files.SHIPPED.glob("*.safetensors"))
    assert shipped and set(shipped) <= set(files.artefact_names())
    for name in shipped:
        network = cache_core.read_artefact(files.SHIPPED / name).architecture
        assert network.sites == _network(flux, network.level)[0].sites


def test_a_changed_file_runs_the_node_again(host: real.Host, folder: Path, flux: Any) -> None:
    node = host.nodes["L2CRouterLoader"]
    name = _save(folder, _half_router(flux, "harmonica"))
    first = node.fingerprint_inputs(artefact=name, model=None)
    assert node.fingerprint_inputs(artefact=name) == first
    (folder / name).unlink()
    assert node.fingerprint_inputs(artefact=name) is None
    _save(folder, _half_router(flux, "harmonica", num_steps=7))
    assert node.fingerprint_inputs(artefact=name) not in (first, None)


def test_memory_settings_are_followed(
    host: real.Host, folder: Path, loader: Callable[..., Any], report: Callable[[Any], Any], flux: Any
) -> None:
    name = _save(folder, _half_router(flux, "harmonica"))
    model = loader(flux, name, memory_budget_mb=1, cache_dtype="bfloat16")
    residence = host.module("nodes.host").find_binding(model).residence
    assert (residence.budget, residence.dtype) == (1024 * 1024, torch.bfloat16)

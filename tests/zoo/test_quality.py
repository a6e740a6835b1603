"""The benchmark of quality on a real model of the zoo: drawing, ComfyUI's own caches, calibration, tuning, search, records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("skimage", reason="scikit-image is not installed")

FAMILY, SEEDS = "flux", range(20_000, 20_002)


@pytest.fixture(scope="module")
def setting() -> Any:
    """Return few steps without guidance."""
    from metrics.study.cells import Cell

    return Cell("euler", 6, 1.0)


@pytest.fixture(scope="module")
def hand(host_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what does jobs on the zoo's Flux."""
    from quality.fronts.work import Order

    return Order(FAMILY, tmp_path_factory.mktemp("records")).hand()


@pytest.fixture
def plan(hand: Any, setting: Any, tmp_path: Path) -> Any:
    """Return a plan of the setting in a folder of its own."""
    from quality.fronts.contenders import fronts
    from quality.fronts.kit import Place
    from quality.fronts.plans import Plan
    from quality.fronts.settings import SIZES

    size = replace(SIZES["five-minutes"], seeds=2, pairs=1, tuning=1, searching=1, runs=2)
    return Plan(Place(tmp_path, setting), fronts(setting, FAMILY, is_full=False), size)


def _only(plan: Any, *names: str) -> Any:
    return replace(plan, fronts=tuple(front for front in plan.fronts if front.name in names))


def _draw(hand: Any, setting: Any, model: Any = None, seeds: Any = SEEDS, **changes: Any) -> Any:
    from quality.engine import sigmas_of
    from quality.fronts.drawing import draw_latents

    pipeline = hand.bench.pipeline
    drawing = replace(pipeline, model=model or pipeline.model)
    levels = sigmas_of(pipeline.model, setting.steps)
    return draw_latents(drawing, replace(setting, **changes), seeds, levels)


def test_pictures_are_those_of_the_hosts_sampler(hand: Any, setting: Any) -> None:
    from metrics.study.cells import requests
    from zoo.sampling import sample_latents

    expected = sample_latents(hand.bench.pipeline, requests(setting, SEEDS))
    assert torch.equal(_draw(hand, setting), expected)


def test_a_model_expects_at_its_own_states_what_it_expected_on_its_way(hand: Any, setting: Any) -> None:
    from quality.engine import sigmas_of
    from quality.fronts.drawing import Trail, draw_latents, predict_at

    pipeline, trail = hand.bench.pipeline, Trail()
    levels = sigmas_of(pipeline.model, setting.steps)
    draw_latents(pipeline, setting, SEEDS, levels, trail.note)
    outputs = predict_at(pipeline, setting, SEEDS, levels, trail.states)
    assert len(outputs) == setting.steps
    for ours, theirs in zip(outputs, trail.outputs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    moved = predict_at(pipeline, setting, SEEDS, levels, [state + 0.1 for state in trail.states])
    assert not torch.allclose(moved[3], trail.outputs[3], atol=1e-3)


def test_an_ancestral_picture_is_the_same_alone_and_in_company(hand: Any, setting: Any) -> None:
    company = _draw(hand, setting, sampler="euler_ancestral")
    alone = _draw(hand, setting, sampler="euler_ancestral", seeds=SEEDS[1:])
    torch.testing.assert_close(alone, company[1:], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(company, _draw(hand, setting), atol=0.1)


def test_mended_easycache_skips_and_stays_near_where_the_shipped_one_does_not(
    hand: Any, setting: Any
) -> None:
    from metrics.fidelity import latent_error
    from quality.fronts import peers
    from quality.fronts.counting import counted

    reference, errors = _draw(hand, setting), {}
    for name in ("easycache", "easycache_mended"):
        model = getattr(peers, name)(hand.bench.pipeline.model, 0.5)
        with counted(model) as count:
            errors[name] = float(latent_error(_draw(hand, setting, model), reference).mean())
        assert 0.3 < count.share(2 * setting.num_passes) < 0.9
    assert errors["easycache_mended"] < 0.5 * errors["easycache"]


def test_the_hosts_caches_leave_the_model_as_it_was(hand: Any, setting: Any) -> None:
    from quality.fronts import peers

    before = _draw(hand, setting)
    for attach in (peers.easycache, peers.easycache_mended, peers.lazycache):
        _draw(hand, setting, attach(hand.bench.pipeline.model, 0.5))
    assert torch.equal(_draw(hand, setting), before)


def test_an_uncached_run_counts_as_the_whole_work(hand: Any, setting: Any) -> None:
    from quality.fronts.counting import counted

    with counted(hand.bench.pipeline.model) as count:
        _draw(hand, setting, cfg=4.0)
    assert count.share(2 * replace(setting, cfg=4.0).num_passes) == 1.0


def test_measured_ratios_are_what_magcache_takes(hand: Any, plan: Any) -> None:
    from quality.fronts.jobs import calibrations

    own = _only(plan, "magcache")
    for job in calibrations(own):
        hand.do(replace(job, seeds=job.seeds[:1]))
    ratios = hand.kit(own).kit.artefacts["ratios"].tensors["ratios"]
    assert ratios.shape == (6,)
    assert ratios[0] == 1.0
    assert bool(((ratios[1:] > 0.3) & (ratios[1:] < 3)).all())


def test_a_front_goes_from_its_jobs_to_its_rows_and_is_done_then(hand: Any, plan: Any) -> None:
    from quality.fronts.jobs import measurements, preparations
    from quality.fronts.rows import duels, read_table, rows
    from quality.fronts.timing import time_pictures, untimed

    own = _only(plan, "fewer_steps", "searched_steps", "step_list", "first_block")
    for stage in (preparations, measurements):
        for job in stage(own):
            hand.do(job)
    assert [*preparations(own), *measurements(own)] == []
    time_pictures(hand, own, "thread")
    assert untimed(own, "thread", 0) == []
    table = read_table(own, "thread")
    found = {row.cell: row for row in rows(table, FAMILY)}
    assert found["fewer_steps_3"].cost == found["step_list_2"].refresh == 0.5
    assert found["searched_steps_3"].knob.split()[0] == "0"
    assert found["first_block_70"].knob.startswith("threshold=")
    assert all(row.time is not None and row.measures["psnr"].value > 5 for row in found.values())
    assert {duel.front for duel in duels(table, FAMILY)} >= {"fewer_steps", "searched_steps"}


def test_summaries_of_pictures_and_of_the_scenes_have_one_shape(hand: Any, plan: Any) -> None:
    from metrics.study.store import read_record
    from quality.cells import data
    from quality.fronts.front import uncached
    from quality.fronts.jobs import Summarise

    for cell in (data(), uncached(plan.setting)):
        hand.do(Summarise(plan, SEEDS, cell.name, 1, cell))
        assert read_record(plan.summary(cell, SEEDS))["summary"].shape == (2, 64)


def test_a_pack_that_fails_is_left_out_with_its_error(hand: Any, plan: Any, tmp_path: Path) -> None:
    from quality.fronts.contenders import fronts
    from quality.fronts.jobs import measurements, preparations
    from quality.fronts.packs import find_nodes

    folder = tmp_path / "failing-pack"
    folder.mkdir()
    (folder / "__init__.py").write_text(_FAILING, encoding="utf-8")
    nodes, _ = find_nodes([folder])
    found = fronts(plan.setting, FAMILY, is_full=False, packs=nodes)
    own = _only(replace(plan, fronts=found), "pack_failing-pack_Fails")
    for job in preparations(own):
        hand.do(job)
    assert own.error(own.fronts[0]).read_text(encoding="utf-8") == "TypeError: signature has changed\n"
    assert preparations(own) == []
    assert [job.record for job in measurements(own)] == ["uncached"]


_FAILING = """
class Fails:
    FUNCTION = "put"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "rel_l1_thresh": ("FLOAT", {"default": 0.4})}}

    def put(self, model, rel_l1_thresh):
        raise TypeError("signature has changed")


NODE_CLASS_MAPPINGS = {"Fails": Fails}
"""

"""The benchmark of quality: who takes part, what is tuned and searched, and that nothing is measured on what it was tuned on."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("skimage", reason="scikit-image is not installed")

from metrics.study.cells import Cell as Setting
from metrics.study.store import write_record
from quality.cells import needs_file
from quality.code import sources
from quality.fronts.code import code_of
from quality.fronts.contenders import fronts
from quality.fronts.counting import Count, blocks_of
from quality.fronts.drawing import PictureNoise
from quality.fronts.front import DEFAULT, EASYCACHE, Front, all_cells, number_name, numbers_of_steps, uncached
from quality.fronts.jobs import calibrations, measurements, preparations
from quality.fronts.kit import Place, write_json
from quality.fronts.names import SAMPLERS, STEPS
from quality.fronts.options import read_options
from quality.fronts.packs import carry, find_nodes
from quality.fronts.plans import Plan
from quality.fronts.search import Indices, bent, cheapest_path, jump_errors, search
from quality.fronts.settings import FIRST_SEED, FIRST_TUNING_SEED, SIZES, calls_of, settings, takes_all
from quality.fronts.tuning import thresholds_for

SETTING = Setting("euler", 20, 4.0)
SIZE = SIZES["five-minutes"]


def plan(folder: Path, *, is_full: bool = False) -> Plan:
    found = fronts(SETTING, "flux", is_full=is_full)
    return Plan(Place(folder, SETTING), found, SIZES["overnight"] if is_full else SIZE)


# --- settings -----------------------------------------------------------------------------------------------------


def test_the_setting_that_everyone_asks_for_is_measured_first() -> None:
    first = settings(SIZES["overnight"])[0]
    assert (first.sampler, first.steps, first.cfg) == ("euler", 20, 4.0)


def test_overnight_measures_every_sampler_at_every_number_of_steps_with_and_without_guidance() -> None:
    assert len(settings(SIZES["overnight"])) == 4 * 4 * 2


def test_all_take_part_with_euler_and_at_20_steps_and_the_short_list_elsewhere() -> None:
    overnight = SIZES["overnight"]
    full = {(one.sampler, one.steps) for one in settings(overnight) if takes_all(overnight, one)}
    assert full == {("euler", steps) for steps in STEPS} | {(sampler, 20) for sampler in SAMPLERS}
    assert not any(takes_all(SIZE, one) for one in settings(SIZE))


def test_fewer_steps_of_heun_are_counted_in_calls() -> None:
    assert calls_of(Setting("heun", 20), 10) == 19


def test_the_command_line_changes_one_part_of_a_size() -> None:
    options = read_options(["--families", "sd3", "--seeds", "4", "--cfgs", "1"])
    assert options.size == replace(SIZE, families=("sd3",), seeds=4, cfgs=(1.0,))
    assert read_options(["--only", "fora"]).results is None


@pytest.mark.parametrize(
    "given", [["--seeds", "1"], ["--steps", "3"], ["--samples", "100"], ["--pairs", "-1"], ["--runs", "0"]]
)
def test_a_number_out_of_its_bounds_is_refused_before_anything_is_drawn(given: list[str]) -> None:
    with pytest.raises(SystemExit, match="bench quality: got"):
        read_options(given)


# --- who takes part -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_full", [False, True])
def test_cells_have_names_of_their_own(is_full: bool) -> None:
    found = [uncached(SETTING), *all_cells(fronts(SETTING, "flux", is_full=is_full))]
    assert len({cell.name for cell in found}) == len(found)


def test_every_method_takes_part_that_needs_no_trained_router() -> None:
    import cache_core

    found = {cell.method for cell in all_cells(fronts(SETTING, "flux", is_full=True, core=cache_core))}
    own = {
        name for name in cache_core.POLICIES if cache_core.POLICIES[name].__module__.startswith("cache_core.")
    }
    assert own - found == {"mask", "learning_to_cache", "harmonica"}
    assert all(needs_file(cache_core.POLICIES[name]) for name in own - found)


def test_a_new_method_takes_part_at_its_defaults() -> None:
    import cache_core

    class New(cache_core.POLICIES["fora"]):  # type: ignore[misc]
        name, title = "new", "New"

    core = SimpleNamespace(POLICIES={"new": New})
    [front] = [front for front in fronts(SETTING, "flux", is_full=True, core=core) if front.name == "new"]
    assert [(cell.method, cell.label, cell.settings) for cell in front.cells] == [
        ("new", "default settings", ())
    ]


def test_easycache_takes_part_on_flux_only_and_lazycache_everywhere() -> None:
    for family in ("flux", "sd3", "pixart"):
        names = {front.name for front in fronts(SETTING, family, is_full=True)}
        assert (EASYCACHE in names) == (family == "flux")
        assert "lazycache" in names


def test_rules_of_packs_say_whose_implementation_they_are() -> None:
    rules = [front for front in fronts(SETTING, "flux", is_full=True) if front.origin == "rule"]
    assert rules
    assert all("our implementation" in front.title for front in rules)


def test_fewer_steps_are_fewer_and_each_number_comes_once() -> None:
    assert numbers_of_steps(Setting("euler", 10), (1.25, 1.5, 2.0, 3.0, 4.0)) == (8, 7, 5, 3, 2)
    assert numbers_of_steps(Setting("euler", 4), (1.0, 4.0)) == (2,)


def test_a_correction_comes_with_the_thresholds_of_the_bare_method() -> None:
    found = {front.name: front for front in fronts(SETTING, "flux", is_full=True)}
    corrected, bare = found["teacache_forecast"], found["teacache"]
    assert [cell.tuned for cell in corrected.cells] == [cell.tuned for cell in bare.cells]
    assert corrected.tuned_as == bare.name
    assert corrected.knob is None


# --- seeds and records --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_full", [False, True])
def test_nothing_is_measured_on_a_seed_that_something_was_tuned_on(tmp_path: Path, is_full: bool) -> None:
    one = plan(tmp_path, is_full=is_full)
    tuned = {seed for job in (*calibrations(one), *preparations(one)) for seed in job.seeds}
    measured = {seed for job in measurements(one) for seed in job.seeds}
    assert min(measured) == FIRST_SEED == 20_000
    assert min(tuned) >= FIRST_TUNING_SEED
    assert max(tuned) < FIRST_SEED


def test_an_interrupted_run_goes_on_with_what_lacks_its_record(tmp_path: Path) -> None:
    one = plan(tmp_path)
    first = measurements(one)
    write_record(one.record(first[5].cell, first[5].seeds), {"psnr": np.ones(8)})
    assert measurements(one) == [*first[:5], *first[6:]]


def test_tuned_thresholds_and_searched_levels_are_not_found_twice(tmp_path: Path) -> None:
    one = plan(tmp_path)
    before = {job.record for job in preparations(one)}
    [front] = [front for front in one.fronts if front.name == "teacache"]
    write_json(one.thresholds(front), {"thresholds": {}})
    write_json(one.searched(10), {"indices": []})
    assert before - {job.record for job in preparations(one)} == {"teacache", "searched_steps_10"}


def test_cells_whose_thresholds_agree_are_drawn_once(tmp_path: Path) -> None:
    one = plan(tmp_path)
    [front] = [front for front in one.fronts if front.name == "magcache"]
    assert len(one.distinct(front)) == len(front.cells)
    write_json(one.thresholds(front), {"thresholds": {cell.tuned[1]: 0.1 for cell in front.cells}})
    assert one.distinct(front) == front.cells[:1]


def test_a_record_is_named_after_the_code_of_its_method_and_of_nothing_else() -> None:
    found = {front.name: front for front in fronts(SETTING, "flux", is_full=True)}
    forecast = {path.name for path in sources(_policy("step_list"))}
    assert {"step_list.py", "forecasting.py", "forecasts.py", "steps.py"} <= forecast
    assert "accumulation.py" not in forecast
    codes = {name: code_of(found[name].cells[0], SIZE) for name in ("fora", "fora_forecast", DEFAULT)}
    assert len(set(codes.values())) == 3
    assert code_of(found["fewer_steps"].cells[0], SIZE) == "host"


def test_a_search_with_more_runs_is_another_one() -> None:
    [cell, *_] = next(
        front for front in fronts(SETTING, "flux", is_full=False) if front.name == "searched_steps"
    ).cells
    assert code_of(cell, SIZE) != code_of(cell, replace(SIZE, runs=99))


def _policy(name: str) -> Path:
    import cache_core

    assert cache_core.__file__ is not None
    return Path(cache_core.__file__).resolve().parent / "policies" / f"{name}.py"


# --- searched noise levels ----------------------------------------------------------------------------------------


def test_dynamic_programming_finds_what_trying_all_lists_finds() -> None:
    costs = np.random.default_rng(0).random((8, 8))
    found = cheapest_path(costs, 4)

    def total(path: Indices) -> float:
        return float(sum(costs[a, b] for a, b in pairwise(path)))

    every = [(0, *inner, 7) for inner in combinations(range(1, 7), 3)]
    assert total(found) == pytest.approx(min(map(total, every)))
    assert found in every


@pytest.mark.parametrize("bend", [0.5, 1.0, 1.6, 3.0])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 19, 20])
def test_a_bent_list_goes_from_the_first_level_to_the_last_without_stopping(
    num_steps: int, bend: float
) -> None:
    found = bent(20, num_steps, bend)
    assert (found[0], found[-1], len(found)) == (0, 20, num_steps + 1)
    assert all(later > earlier for earlier, later in pairwise(found))


def test_a_search_finds_the_best_list_and_is_never_worse_than_the_even_one() -> None:
    wished = (0, 1, 2, 4, 10)
    found = search(10, 4, lambda one: sum(abs(a - b) for a, b in zip(one, wished, strict=True)), 60)
    assert found.indices == wished
    assert found.error == 0 < found.start_error


def test_a_search_keeps_to_its_runs_and_counts_them() -> None:
    tried: list[Indices] = []

    def error_of(one: Indices) -> float:
        tried.append(one)
        return float(sum(one))

    found = search(20, 5, error_of, 7)
    assert len(tried) == len(set(tried)) == found.num_runs == 7
    assert search(20, 5, error_of, 1).indices == bent(20, 5, 1.0)


def test_a_jump_along_a_straight_line_misses_nothing() -> None:
    clean, noise = np.full((1, 2), 3.0, np.float32), np.full((1, 2), -1.0, np.float32)
    sigmas = [1.0, 0.6, 0.3, 0.0]
    states = [(1 - sigma) * clean + sigma * noise for sigma in sigmas]
    assert jump_errors(sigmas, states, [clean] * 3) == pytest.approx(np.zeros((4, 4)), abs=1e-5)


# --- thresholds ---------------------------------------------------------------------------------------------------


def test_a_threshold_does_about_the_share_it_is_found_for() -> None:
    found = thresholds_for([0.8, 0.5, 0.2], lambda threshold: 1 / (1 + threshold), 1e-3, 100.0, 12)
    assert {share: 1 / (1 + threshold) for share, threshold in found.items()} == pytest.approx(
        {0.8: 0.8, 0.5: 0.5, 0.2: 0.2}, abs=0.01
    )


def test_what_was_run_for_one_share_serves_the_others() -> None:
    runs: list[float] = []

    def share_at(threshold: float) -> float:
        runs.append(threshold)
        return 1 / (1 + threshold)

    thresholds_for([0.5, 0.49], share_at, 1e-3, 100.0, 6)
    assert len(runs) == len(set(runs)) < 12


# --- drawing and counting -----------------------------------------------------------------------------------------


def test_noise_on_the_way_is_the_same_alone_and_in_company() -> None:
    company, alone = PictureNoise([5, 6]), PictureNoise([6])
    for _ in range(2):
        together = company.like(torch.zeros(2, 3, 4, 4))
        assert torch.equal(together[1:], alone.like(torch.zeros(1, 3, 4, 4)))
    assert not torch.equal(together[0], together[1])


def test_blocks_that_run_for_half_of_the_pictures_are_half_of_the_work() -> None:
    network = torch.nn.Module()
    network.blocks = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    network.head = torch.nn.Linear(1, 1)
    blocks = blocks_of(network)
    count = Count(len(blocks))
    for block in blocks:
        hook = block.register_forward_pre_hook(count.add, with_kwargs=True)
        block(torch.zeros(3, 1))
        hook.remove()
    assert count.share(6) == 0.5


# --- packs of others ----------------------------------------------------------------------------------------------

_PACK = """
class Skip:
    FUNCTION = "put"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {
            "model": ("MODEL",),
            "model_type": (["flux", "wan"], {"default": "wan"}),
            "rel_l1_thresh": ("FLOAT", {"default": 0.4, "min": 0.0, "max": 2.0}),
            "start": ("FLOAT", {"default": 0.25}),
        }}

    def put(self, model, model_type, rel_l1_thresh, start):
        return ((model, model_type, rel_l1_thresh, start),)


class Other:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": ""})}}


NODE_CLASS_MAPPINGS = {"Skip": Skip, "Other": Other}
"""


def _pack(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "__init__.py").write_text(text, encoding="utf-8")
    return folder


def test_a_node_with_a_known_threshold_is_driven_and_the_rest_keeps_its_default(tmp_path: Path) -> None:
    path = _pack(tmp_path / "some-pack", _PACK)
    [node], errors = find_nodes([path])
    assert (node.name, node.knob, errors) == ("Skip", "rel_l1_thresh", {})
    assert carry("a model", path, "Skip", node.knob, 5.0, "flux") == ("a model", "flux", 2.0, 0.25)


def test_a_pack_that_does_not_load_is_listed_with_its_error(tmp_path: Path) -> None:
    broken = _pack(tmp_path / "broken-pack", "from nowhere_at_all import something\n")
    nodes, errors = find_nodes([broken, tmp_path / "missing"])
    assert nodes == []
    assert "nowhere_at_all" in errors["broken-pack"]
    assert "__init__.py" in errors["missing"]


def test_a_pack_that_lacks_the_family_says_which_it_has(tmp_path: Path) -> None:
    path = _pack(tmp_path / "video-pack", _PACK)
    with pytest.raises(RuntimeError, match=r'knows no model "sd3"; it knows \[\'flux\', \'wan\'\]'):
        carry("a model", path, "Skip", "rel_l1_thresh", 0.1, "sd3")


def test_a_pack_that_was_changed_is_measured_anew(tmp_path: Path) -> None:
    codes = []
    for name, text in (("one", _PACK), ("two", f"{_PACK}# changed")):
        [node], _ = find_nodes([_pack(tmp_path / name, text)])
        [front] = [
            one for one in fronts(SETTING, "flux", is_full=False, packs=[node]) if one.origin == "pack"
        ]
        codes.append(code_of(front.cells[0], SIZE))
    assert codes[0] != codes[1]


def test_a_pack_takes_part_as_a_front_of_its_own(tmp_path: Path) -> None:
    [node], _ = find_nodes([_pack(tmp_path / "front-pack", _PACK)])
    found = fronts(SETTING, "flux", is_full=False, packs=[node])
    [front] = [front for front in found if front.origin == "pack"]
    assert isinstance(front, Front)
    assert front.title == "Skip of front-pack"
    assert front.cells[0].tuned == ("rel_l1_thresh", number_name(front.name, 70))

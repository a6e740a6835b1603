"""Which speedup an intent means: looked up where it was measured, and none where nothing was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cache_core import POLICIES, ConfigError, Run, SamplerClass, presets
from cache_core.presets import INTENTS, measured_speedup


def _row(sampler: str, steps: int, fast: float, **others: Any) -> dict[str, Any]:
    speedups = {"quality": 1.0, "balanced": 1.5, "fast": fast}
    return {"flow": True, "guided": False, "sampler": sampler, "steps": steps, "speedups": speedups} | others


ROWS = [
    _row("first order", 10, 2.0),
    _row("first order", 20, 4.0),
    _row("multistep", 10, 1.25),
    _row("multistep", 20, 3.0),
    _row("first order", 20, 2.5, guided=True),
    _row("first order", 20, 1.5, flow=False),
]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put rows in the place of those that ship."""
    path = tmp_path / "presets.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    monkeypatch.setattr(presets, "TABLE", path)
    presets.rows.cache_clear()
    yield
    presets.rows.cache_clear()


def _run(
    steps: int, kind: SamplerClass = SamplerClass.FIRST_ORDER, cfg: float | None = 1.0, flow: bool = True
) -> Run:
    sigmas = (*(1 - step / steps for step in range(steps)), 0.0)
    return Run(sigmas=sigmas, sampler_class=kind, cfg=cfg, flow=flow)


def _policy(**settings: Any) -> Any:
    method = POLICIES["step_list"]
    return method(method.config_type(**settings))


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("run", "speedup"),
    [
        (_run(20), 4.0),
        (_run(20, SamplerClass.MULTISTEP), 3.0),
        (_run(20, cfg=4.0), 2.5),
        (_run(20, cfg=None), 2.5),
        (_run(20, flow=False), 1.5),
    ],
    ids=["cfg 1", "multistep", "guided", "guidance unknown", "no flow model"],
)
def test_the_row_of_the_run_is_taken(run: Run, speedup: float) -> None:
    assert measured_speedup(run, "fast") == speedup


@pytest.mark.usefixtures("table")
def test_between_two_numbers_of_steps_the_smaller_counts() -> None:
    assert [measured_speedup(_run(steps), "fast") for steps in (10, 19, 20, 100)] == [2.0, 2.0, 4.0, 4.0]


@pytest.mark.usefixtures("table")
def test_a_sampler_of_no_known_class_is_taken_for_the_one_that_bears_least() -> None:
    assert measured_speedup(_run(20, SamplerClass.UNKNOWN), "fast") == 3.0


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("run", [_run(8), _run(20, SamplerClass.NEW_NOISE), _run(10, cfg=4.0)])
def test_where_nothing_was_measured_every_step_is_computed(run: Run) -> None:
    assert [measured_speedup(run, intent) for intent in INTENTS] == [1.0, 1.0, 1.0]


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(("intent", "num_full"), [("quality", 20), ("balanced", 13), ("fast", 5)])
def test_a_step_list_computes_as_many_steps_as_its_intent_leaves(intent: str, num_full: int) -> None:
    assert len(_policy(intent=intent).full_steps(_run(20))) == num_full


@pytest.mark.usefixtures("table")
def test_a_number_takes_the_place_of_the_intent() -> None:
    assert len(_policy(intent="quality", speedup=5.0).full_steps(_run(20))) == 4


@pytest.mark.usefixtures("table")
def test_a_run_without_a_speedup_is_told_of() -> None:
    [note] = _policy(intent="quality").check_run(_run(20))
    assert "keeps pictures as near as 'quality' asks for. Choose 'balanced', or set 'speedup'" in note
    assert _policy(intent="fast").check_run(_run(20)) == ()
    assert _policy(speedup=1.0).check_run(_run(20)) == ()


@pytest.mark.usefixtures("table")
def test_what_was_not_measured_is_told_apart() -> None:
    [note] = _policy().check_run(_run(8))
    assert "for fewer than 10 steps nothing was measured. Set 'speedup'" in note
    [note] = _policy(intent="quality").check_run(_run(20, SamplerClass.UNKNOWN))
    assert "the sampler 'unknown' is of no kind that was measured" in note


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(("cfg", "speedup"), [(2.0, 2.5), (4.0, 2.5), (5.5, 2.0), (7.0, 1.75), (-4.5, 2.0)])
def test_beyond_the_measured_guidance_less_is_left_out(cfg: float, speedup: float) -> None:
    assert measured_speedup(_run(20, cfg=cfg), "fast") == pytest.approx(speedup)


def test_a_speedup_of_1_computes_everything_whatever_list_there_is() -> None:
    assert _policy(speedup=1.0, steps="0-3, 5").full_steps(_run(20)) == tuple(range(20))


def test_a_speedup_below_one_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"'speedup' is 0\.5; expected 1 or more, or 0 to leave it to 'intent'"
    ):
        _policy(speedup=0.5)


def test_what_ships_covers_every_class_that_is_measured() -> None:
    presets.rows.cache_clear()
    found = {(row.flow, row.guided, row.sampler) for row in presets.rows()}
    kinds = set(SamplerClass) - {SamplerClass.UNKNOWN}
    assert found == {
        (flow, guided, kind) for flow in (True, False) for guided in (True, False) for kind in kinds
    }


def test_a_stronger_intent_never_leaves_out_fewer_steps() -> None:
    for row in presets.rows():
        speedups = [row.speedups[intent] for intent in INTENTS]
        assert speedups == sorted(speedups) and speedups[0] >= 1.0

"""The artefacts that ship are what their script writes."""

from __future__ import annotations

import pytest
import torch
import write_artefacts

import cache_core
from cache_core import Action, Call, Evidence, Level, Run, Site


def test_shipped_files_are_current() -> None:
    """`python benchmarks/write_artefacts.py` writes them again."""
    made = write_artefacts.artefacts()
    assert sorted(path.name for path in write_artefacts.FOLDER.glob("*.safetensors")) == sorted(made)
    for name, artefact in made.items():
        shipped = cache_core.read_artefact(write_artefacts.FOLDER / name)
        assert (shipped.architecture, shipped.sampling) == (artefact.architecture, artefact.sampling)
        assert (shipped.made, shipped.measured) == (artefact.made, artefact.measured)
        assert torch.equal(shipped.tensors["compute"], artefact.tensors["compute"])


@pytest.mark.parametrize("count", ["21", "13", "9"])
def test_a_list_of_full_steps_is_followed_on_its_own_schedule(count: str) -> None:
    mask = cache_core.read_artefact(write_artefacts.FOLDER / f"flux_dev_50_steps_{count}_full.safetensors")
    run = Run(sigmas=mask.sampling.sigmas, sampler="euler", call_steps=tuple(range(50)), size=(1024, 1024))
    policy = cache_core.POLICIES["mask"](cache_core.POLICIES["mask"].config_type(mask=mask))
    site = Site(level=Level.STACK, path="blocks", index=0, part="residual")
    calls = [Call(index=step, step=step, sigma=run.sigmas[step], run=run) for step in range(50)]
    full = [call.step for call in calls if policy.plan(call, Evidence(sites=(site,)))[site] is Action.COMPUTE]
    assert policy.check_run(run) == ()
    assert full == list(write_artefacts.FULL_STEPS[count]) and len(full) == int(count)


def test_a_shipped_file_is_listed_in_the_folders_readme() -> None:
    text = (write_artefacts.FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in text for path in write_artefacts.FOLDER.glob("*.safetensors"))

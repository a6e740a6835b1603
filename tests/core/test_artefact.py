"""What an artefact may hold, and what it fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import published
import pytest
import torch

from cache_core import Architecture, Artefact, ArtefactError, Kind, Level, Sampling

FLUX = published.architecture("flux", published.flux_sites())
NUM = len(FLUX.sites)


def _artefact(**changes: Any) -> Artefact:
    parts: dict[str, Any] = {
        "kind": Kind.MASK,
        "method": "mask",
        "architecture": FLUX,
        "sampling": Sampling(num_steps=3),
        "tensors": {"compute": torch.ones(3, NUM, dtype=torch.bool)},
    }
    return Artefact(**(parts | changes))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tensors": {}}, "tensor 'compute' is missing"),
        ({"tensors": {"compute": torch.ones(2, NUM, dtype=torch.bool)}}, "has shape (2, 9), expected (3, 9)"),
        ({"tensors": {"compute": torch.ones(3, NUM, 1, dtype=torch.bool)}}, "has shape (3, 9, 1)"),
        ({"tensors": {"compute": torch.ones(3, NUM)}}, "'compute' is float32, expected bool"),
        ({"kind": Kind.ROUTER, "tensors": {"score": torch.ones(3, NUM, dtype=torch.int64)}}, "is int64"),
        (
            {"kind": Kind.ROUTER, "tensors": {"score": torch.full((3, NUM), torch.nan)}},
            "holds infinite or undefined",
        ),
        ({"tensors": {"weights": torch.ones(3)}}, "tensor 'weights' is unknown"),
        ({"sampling": Sampling()}, "tensor 'compute' needs 'num_steps'"),
        ({"sampling": Sampling(num_steps=0)}, "'num_steps' is 0, expected 1 to 4096"),
        (
            {"sampling": Sampling(num_steps=3, sigmas=(1.0, 0.5, 0.0))},
            "'sigmas' has 3 entries, expected one more",
        ),
        ({"sampling": Sampling(num_steps=3, sigmas=(1.0, 0.5, 0.7, 0.0))}, "'sigmas' does not fall"),
        ({"sampling": Sampling(num_steps=3, sigmas=(torch.inf, 1.0, 0.7, 0.0))}, "is no noise level"),
        (
            {"architecture": replace(FLUX, sites=FLUX.sites[:1] * NUM)},
            "'sites' has 9 names, expected 1 to 16384, none twice",
        ),
        ({"threshold": 1.5}, "'threshold' is 1.5, expected 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ArtefactError) as caught:
        _artefact(**changes)
    assert fault in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ArtefactError, match=r"'threshold' is -1.*tensor 'compute' is missing"):
        _artefact(threshold=-1, tensors={})


def test_tensors_may_be_named_per_site() -> None:
    tensors = {name: torch.zeros(3, 4) for name in ("scale.blocks.0", "shift.blocks.0")}
    assert _artefact(kind=Kind.SCALE_SHIFT, tensors=tensors).tensors == tensors


def test_it_fits_the_network_it_was_made_for() -> None:
    _artefact().require_fit(FLUX)


@pytest.mark.parametrize(
    ("network", "fault"),
    [
        (
            published.architecture("pixart", published.pixart_sites()),
            "for the family 'flux', this MODEL is 'pixart'",
        ),
        (
            published.architecture("flux", published.flux_sites(3, 1)),
            "names 9 sites where this MODEL has 13, such as 'double_blocks.2.img_attn'",
        ),
        (replace(FLUX, sites=FLUX.sites[::-1]), "in another order"),
        (replace(FLUX, level=Level.BLOCK), "names sites at level 'module', asked for 'block'"),
        (replace(FLUX, hidden_size=3072), "its width is 64, this MODEL's 3072"),
        (
            replace(FLUX, blocks=(("double_blocks", 9),)),
            "it has 2 double blocks and 1 single blocks, this MODEL 9 double blocks",
        ),
    ],
)
def test_another_network_is_refused_with_what_differs(network: Architecture, fault: str) -> None:
    with pytest.raises(ArtefactError, match="does not fit this MODEL") as caught:
        _artefact().require_fit(network)
    assert fault in str(caught.value)
    assert "of kind 'mask', method 'mask', for flux (2 double blocks and 1 single blocks), 3 steps." in str(
        caught.value
    )


def test_an_unknown_width_is_not_compared() -> None:
    _artefact(architecture=replace(FLUX, hidden_size=None)).require_fit(FLUX)

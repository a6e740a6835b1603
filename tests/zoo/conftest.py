"""The zoo as the package it is trained and evaluated as."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture(scope="session")
def host_folder(host_path: Path) -> Path:
    """Return the folder of a real ComfyUI whose model code is importable in this process."""
    with warnings.catch_warnings():
        # What the host's own imports warn about is not ours to hold.
        warnings.simplefilter("ignore")
        from zoo.host import prepare_host

        prepare_host()
        import comfy.sample
        import comfy.sd  # noqa: F401

    torch.set_num_threads(1)
    return host_path

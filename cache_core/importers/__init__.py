"""Schedules and routers as others published them, read as artefacts for a given network. One file per format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ..adapter import Adapter
from ..artefact import Architecture, Artefact
from ..artefact_file import SUFFIX, read_artefact
from ..errors import ArtefactError
from ..fingerprint import fingerprint
from ..types import Level, Site
from ..untrusted import load_json, load_torch
from .ecad import from_ecad
from .routers import from_routers
from .smoothcache import from_smoothcache

SUFFIXES = (SUFFIX, ".json", ".pt", ".pth")
"""How the names of files end that `load_artefact` reads."""


def load_artefact(path: Path, adapter: Adapter) -> Artefact:
    """Return the artefact in a file, of this pack's format or a published one, checked against a network.

    Raises:
        ArtefactError: If the file cannot be read, or was made for another network.
    """
    if path.suffix != SUFFIX:
        return import_published(path, fingerprint(adapter, Level.MODULE), adapter.sites(Level.MODULE))
    artefact = read_artefact(path)
    artefact.require_fit(fingerprint(adapter, artefact.architecture.level))
    return artefact


def import_published(path: Path, architecture: Architecture, sites: tuple[Site, ...]) -> Artefact:
    """Return what a published file means for a network.

    Args:
        path: A `.pt` or `.pth` router of Learning-to-Cache or HarmoniCa, or a `.json` of ECAD or SmoothCache.
        architecture: The network's fingerprint at level MODULE.
        sites: The network's sites at that level.

    Raises:
        ArtefactError: If the file is damaged, of no known layout, or made for another network.
    """
    assert architecture.level is Level.MODULE
    reader = _json_reader if path.suffix == ".json" else _torch_reader
    data, convert = reader(path)
    try:
        return replace(convert(data, architecture, sites), name=path.name)
    except ArtefactError as error:
        raise ArtefactError(f"The file '{path.name}' does not fit this MODEL: {error}") from error


Convert = Callable[[Mapping[str, object], Architecture, tuple[Site, ...]], Artefact]


def _json_reader(path: Path) -> tuple[Mapping[str, object], Convert]:
    data = load_json(path)
    return data, from_ecad if "cache_schedule" in data else from_smoothcache


def _torch_reader(path: Path) -> tuple[Mapping[str, object], Convert]:
    data = load_torch(path)
    if not isinstance(data, dict):
        raise ArtefactError(f"'{path.name}' holds a {type(data).__name__}, expected a dict with 'routers'.")
    return data, from_routers

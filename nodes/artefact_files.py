"""Where artefact files are: `models/feature_cache`, folders of extra_model_paths.yaml, and what the pack brings.

A workflow keeps the name of a file. Where the file is missing, the text says what it was and where it belongs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..cache_core import Adapter, Artefact, ArtefactError, Kind, read_label
from ..cache_core.artefact_file import SUFFIX
from ..cache_core.importers import SUFFIXES, load_artefact

FOLDER = "feature_cache"
"""Name of the folder below `models`, and of the entry in extra_model_paths.yaml."""

SHIPPED = Path(__file__).resolve().parent.parent / "cache_core" / "artefacts"

folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
folder_paths.add_model_folder_path(FOLDER, str(SHIPPED))


def artefact_names() -> list[str]:
    """Return the sorted names of the artefact files there are, of this pack's format or as published."""
    return sorted(name for name in folder_paths.get_filename_list(FOLDER) if Path(name).suffix in SUFFIXES)


def artefacts(kinds: Collection[Kind]) -> dict[str, str]:
    """Return what the files of this pack's format and of `kinds` were made for, by their sorted names."""
    paths = {name: folder_paths.get_full_path(FOLDER, name) for name in artefact_names()}
    labels = {name: read_label(Path(path)) for name, path in paths.items() if path is not None}
    return {name: purpose for name, (kind, purpose) in labels.items() if kind in kinds}


def schedules() -> dict[str, str]:
    """Return what the files that hold a router or a mask were made for; "" for published ones, which do not say it."""
    published = {name: "" for name in artefact_names() if Path(name).suffix != SUFFIX}
    return dict(sorted({**published, **artefacts((Kind.ROUTER, Kind.MASK))}.items()))


def artefact_input(made_for: Mapping[str, str], **others: Any) -> Any:
    """Return the combo of some files, which tells the page what each was made for: `web/made_for.js` shows it.

    Args:
        made_for: By name, what the file was made for; "" where that is not known.
        others: Further arguments of the combo.
    """
    told = {name: text for name, text in made_for.items() if text}
    return io.Combo.Input("artefact", options=list(made_for), extra_dict={"made_for": told}, **others)


def save_folder() -> Path:
    """Return the folder that new artefacts are written to."""
    return Path(folder_paths.models_dir) / FOLDER


def missing(name: str, made_for: str = "") -> str | None:
    """Return what to tell a user who lacks the file `name`; None if it is there.

    Args:
        name: The file's name as the workflow has it.
        made_for: What whoever shared the workflow wrote about model and settings.
    """
    if name in artefact_names():
        return None
    purpose = f" It was made for: {made_for.strip()}." if made_for.strip() else ""
    return (
        f"The artefact file '{name}' is not here.{purpose} Put it into the folder 'models/{FOLDER}' (or one that "
        f"extra_model_paths.yaml names under '{FOLDER}'), with that name: whoever shared the workflow has it. Or choose "
        f"one of those that are here: {', '.join(artefact_names()) or 'none'}. Or make one with the "
        "node for files of its kind: Feature Cache Calibrate (profiles, coefficients, priors), Feature Cache Schedule Search (lists "
        "of full steps, masks) or Feature Cache Router Trainer (routers)."
    )


def find_artefact(name: str, adapter: Adapter, made_for: str = "") -> Artefact:
    """Return the artefact called `name`, checked against the network of `adapter`.

    Raises:
        ArtefactError: If the file is missing or damaged, or does not fit.
    """
    text = missing(name, made_for)
    if text is not None:
        raise ArtefactError(text)
    return load_artefact(Path(folder_paths.get_full_path_or_raise(FOLDER, name)), adapter)


def stamp(name: str) -> Any:
    """Return what changes when the file does, for ComfyUI to know when to run a node again."""
    path = folder_paths.get_full_path(FOLDER, name)
    return None if path is None else (path, Path(path).stat().st_mtime_ns, Path(path).stat().st_size)

"""Where artefact files are: `models/feature_cache`, folders of extra_model_paths.yaml, and what the pack brings.

A workflow keeps the name of a file. Where the file is missing, the text says what it was and where it belongs.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..cache_core import Adapter, Artefact, ArtefactError, Kind, read_kind, read_purpose
from ..cache_core.artefact_file import SUFFIX
from ..cache_core.importers import SUFFIXES, load_artefact

FOLDER = "feature_cache"
"""Name of the folder below `models`, and of the entry in extra_model_paths.yaml."""

SHIPPED = Path(__file__).resolve().parent.parent / "cache_core" / "artefacts"

folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
folder_paths.add_model_folder_path(FOLDER, str(SHIPPED))


def artefact_names(kinds: Collection[Kind] = ()) -> list[str]:
    """Return the sorted names of the artefact files there are: all, or those of this pack's format of `kinds`."""
    names = sorted(name for name in folder_paths.get_filename_list(FOLDER) if Path(name).suffix in SUFFIXES)
    return [name for name in names if not kinds or _kind(name) in kinds]


def schedule_names() -> list[str]:
    """Return the names of the files that hold a router or a mask: of this pack's format, or as published."""
    published = [name for name in artefact_names() if Path(name).suffix != SUFFIX]
    return sorted([*artefact_names((Kind.ROUTER, Kind.MASK)), *published])


def artefact_input(names: list[str], **others: Any) -> Any:
    """Return the combo of the files `names`, which tells the page what each was made for: `web/made_for.js` shows it."""
    return io.Combo.Input("artefact", options=names, extra_dict={"made_for": _purposes(names)}, **others)


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


def _purposes(names: Collection[str]) -> dict[str, str]:
    """Return what those of the files that say it were made for, by name."""
    paths = {name: folder_paths.get_full_path(FOLDER, name) for name in names}
    told = {name: read_purpose(Path(path)) for name, path in paths.items() if path is not None}
    return {name: text for name, text in told.items() if text}


def _kind(name: str) -> Kind | None:
    path = folder_paths.get_full_path(FOLDER, name)
    return None if path is None else read_kind(Path(path))


def stamp(name: str) -> Any:
    """Return what changes when the file does, for ComfyUI to know when to run a node again."""
    path = folder_paths.get_full_path(FOLDER, name)
    return None if path is None else (path, Path(path).stat().st_mtime_ns, Path(path).stat().st_size)

"""The host: a ComfyUI and an interpreter that runs it, found or made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import comfy_folder, downloads, host_environment
from .console import say
from .environment import Environment
from .errors import DevError
from .filesystem import appearing, remove, require_space
from .locking import locked
from .paths import Layout, claim, short_hash
from .tools import ensure_tools, install_comfyui
from .versions import ARCHIVES, DEFAULT_HOST

_COLD_BYTES = 4_000_000_000
"""A cold set-up, measured: environments of 2.6 GB, and what pip keeps beside them while it works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A ComfyUI that can be started."""

    folder: Path
    """Its main.py lies here."""
    python: Path
    """The interpreter with its requirements and our development tools."""
    version: str
    origin: str
    """Where it comes from, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that a command needs: the host, and the environment with comfy-cli."""

    host: Host
    tools: Environment


def ensure_setup(layout: Layout, host_version: str | None = None) -> Setup:
    """Returns a ready host and the tools; makes what is missing.

    Args:
        layout: Where the cache folder is.
        host_version: A pinned ComfyUI version; the default if left out.

    Raises:
        DevError: Something the user can mend.
    """
    existing = named_by_user(host_version)
    claim(layout)
    if not any(layout.environments.glob("*/featurecache-stamp")):
        require_space(layout.home, _COLD_BYTES, "a first set-up (ComfyUI, torch and their requirements)")
    tools = ensure_tools(layout)
    if existing is not None:
        return Setup(host=existing_host(existing, layout), tools=tools)
    return Setup(host=_pinned_host(host_version or DEFAULT_HOST, layout, tools), tools=tools)


def named_by_user(host_version: str | None = None) -> Path | None:
    """Returns the ComfyUI that COMFYUI_PATH names, None where the variable is not set.

    Args:
        host_version: The version that was asked for on the command line, if any.

    Raises:
        DevError: It names nothing, something else, or another version than was asked for.
    """
    named = os.environ.get(comfy_folder.VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser().resolve()
    comfy_folder.check(folder)
    found = comfy_folder.version(folder)
    if host_version is not None and host_version != found:
        raise DevError(
            f"--host-version and {comfy_folder.VARIABLE} contradict each other",
            got=f"--host-version {host_version}, and ComfyUI {found} at {folder}",
            expected="one of them, or the same version",
            fix=f"leave out --host-version, or unset {comfy_folder.VARIABLE}",
        )
    return folder


def existing_host(folder: Path, layout: Layout) -> Host:
    """Returns a host around a ComfyUI of the user's, which is never written to.

    Args:
        folder: A checked ComfyUI folder.
        layout: Where our part of its environment goes.

    Raises:
        DevError: The environment cannot be made.
    """
    name = f"existing-{short_hash(str(folder))}"
    embedded = comfy_folder.own_embedded_python(folder)
    theirs = comfy_folder.own_environment(folder)
    if embedded is not None:
        python = host_environment.require_tools(embedded)
    elif theirs is not None:
        python = host_environment.ensure_overlay(name, theirs, layout).python
    else:
        python = host_environment.ensure_private(name, folder, layout).python
    version = comfy_folder.version(folder)
    return Host(folder=folder, python=python, version=version, origin=f"named by {comfy_folder.VARIABLE}")


def _pinned_host(version: str, layout: Layout, tools: Environment) -> Host:
    folder = layout.hosts / version
    if comfy_folder.missing(folder):
        with locked(layout.hosts / f"{version}.lock"):
            if comfy_folder.missing(folder):
                remove(folder)
                _fetch(version, layout, tools, folder)
    private = host_environment.ensure_private(f"host-{version}", folder, layout)
    return Host(folder=folder, python=private.python, version=version, origin=origin_of(folder))


def _fetch(version: str, layout: Layout, tools: Environment, folder: Path) -> None:
    with appearing(folder) as partial:
        if not install_comfyui(version, tools, layout, partial):
            downloads.fetch(ARCHIVES[version], tools, layout, partial)
        lacking = comfy_folder.missing(partial)
        if lacking or comfy_folder.version(partial) != version:
            raise DevError(
                "the fetched ComfyUI is not the one that was asked for; it was thrown away",
                got=f"without {', '.join(lacking)}"
                if lacking
                else f"version {comfy_folder.version(partial)}",
                expected=f"a complete ComfyUI {version}",
                fix=f"run the same command again, or set {comfy_folder.VARIABLE} to an existing ComfyUI",
            )
    say(f"    ComfyUI {version} is in {folder}")


def origin_of(folder: Path) -> str:
    """Returns where a fetched ComfyUI came from: comfy-cli clones, the source distribution has no history."""
    return "comfy install" if (folder / ".git").exists() else "source distribution"

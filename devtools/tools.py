"""The "tools" environment with comfy-cli, and what we ask of comfy-cli."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import comfy_folder
from .console import say, step
from .environment import Environment, ensure
from .errors import DevError
from .filesystem import remove
from .network import is_reachable
from .packages import install
from .paths import Layout
from .processes import child_environment, run_logged

COMFYUI_REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"

_REQUIREMENTS = Path(__file__).parent / "requirements" / "tools.txt"
_CLONE_SECONDS = 180.0


def ensure_tools(layout: Layout) -> Environment:
    """Returns the environment with the pinned comfy-cli.

    Raises:
        DevError: It cannot be made.
    """

    def build(environment: Environment) -> None:
        install(environment, layout, "Installing comfy-cli", ["--requirement", str(_REQUIREMENTS)])

    inputs = {"requirements": _REQUIREMENTS.read_text(encoding="utf-8")}
    return ensure(layout.environments / "tools", inputs, build)


def comfy_environment(layout: Layout, tools: Environment) -> dict[str, str]:
    """Returns the environment in which comfy-cli neither asks, nor reports, nor touches the user's settings."""
    home = layout.home / "comfy-cli-home"
    (home / ".config").mkdir(parents=True, exist_ok=True)
    private = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        # Without it comfy-cli makes a virtual environment of its own inside the workspace.
        "VIRTUAL_ENV": str(tools.folder),
        "GIT_TERMINAL_PROMPT": "0",
    }
    git_settings = Path.home() / ".gitconfig"
    if git_settings.is_file():
        # A proxy may be set there, and git would look for it in the private home.
        private["GIT_CONFIG_GLOBAL"] = str(git_settings)
    return child_environment(layout, private)


def install_comfyui(
    version: str, tools: Environment, layout: Layout, target: Path, repository: str = COMFYUI_REPOSITORY
) -> bool:
    """Lets comfy-cli install one ComfyUI, where git and the network allow it within a short time.

    Its requirements are left to our own environment, which every source of a ComfyUI shares.

    Args:
        version: For example `0.30.0`.
        tools: The environment with comfy-cli.
        layout: Where logs go.
        target: An empty folder that receives the ComfyUI.
        repository: Where to clone from.

    Returns:
        Whether `target` now holds that version; it is empty otherwise.
    """
    if not shutil.which("git"):
        say("    comfy install: passed over, there is no git")
        return False
    if repository.startswith("https:") and not is_reachable(repository):
        say("    comfy install: passed over, its repository is not reachable")
        return False
    workspace = target / "comfyui"
    try:
        with step(f"comfy install: ComfyUI {version}"):
            _run_install(version, tools, layout, workspace, repository)
    except DevError as error:
        cause = error.got.splitlines()
        say(f"    comfy install failed: {cause[0].split(';')[0]}: {cause[-1]}")
        remove(workspace)
        return False
    for entry in workspace.iterdir():
        entry.rename(target / entry.name)
    workspace.rmdir()
    return True


def _run_install(version: str, tools: Environment, layout: Layout, workspace: Path, repository: str) -> None:
    options = ["--cpu", "--skip-torch-or-directml", "--skip-requirement", "--skip-manager"]
    place = ["--skip-prompt", "--workspace", str(workspace)]
    run_logged(
        [str(tools.script("comfy")), *place, "install", "--url", repository, "--version", version, *options],
        log=layout.logs / "comfy-install.log",
        what="comfy install failed",
        fix="nothing: the source distribution is used instead",
        env=comfy_environment(layout, tools),
        timeout=_CLONE_SECONDS,
    )
    if comfy_folder.missing(workspace) or comfy_folder.version(workspace) != version:
        raise DevError(
            "comfy install made something else",
            got=f"no complete ComfyUI {version}",
            expected=f"ComfyUI {version}",
            fix="nothing: the source distribution is used instead",
        )

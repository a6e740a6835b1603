"""What pip installs into the private environments, and the choice between builds of torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .console import human_bytes, say, step
from .environment import Environment
from .errors import DevError
from .filesystem import require_space
from .network import download_size, is_reachable
from .paths import Layout
from .processes import child_environment, run_logged
from .versions import TORCH, TORCHAUDIO, TORCHVISION

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of CPU builds: smaller than the ordinary ones on Linux by gigabytes."""

_TRIO = (f"torch=={TORCH}", f"torchvision=={TORCHVISION}", f"torchaudio=={TORCHAUDIO}")
_GIGABYTE = 1_000_000_000
_UNPACKED_RATIO = 3
"""A wheel and its unpacked files take about three times the download while pip works."""


def pip(environment: Environment, layout: Layout, title: str, arguments: Sequence[str]) -> None:
    """Runs pip in an environment and shows its progress.

    Args:
        environment: Where to install.
        layout: Where the log goes.
        title: What is being done.
        arguments: pip's own, from the sub-command on.

    Raises:
        DevError: pip failed.
    """
    with step(title):
        run_logged(
            [str(environment.python), "-m", "pip", *arguments],
            log=layout.logs / f"pip-{environment.folder.name}.log",
            what=f"failed: {title}",
            fix="check the network and pip's configuration (pip config list), then run the same command again",
            env=child_environment(layout),
        )


def install(environment: Environment, layout: Layout, title: str, arguments: Sequence[str]) -> None:
    """Installs packages; bytecode is left to the first run, which makes what it needs and no more."""
    pip(environment, layout, title, ["install", "--no-compile", *arguments])


def install_torch(environment: Environment, layout: Layout) -> None:
    """Installs torch, torchvision and torchaudio, as CPU builds wherever those can be had."""
    if sys.platform.startswith("linux") and is_reachable(f"{CPU_INDEX}/torch/"):
        title = f"Installing the CPU builds of torch {TORCH}, torchvision and torchaudio"
        try:
            install(environment, layout, title, ["--index-url", CPU_INDEX, *_TRIO])
        except DevError as error:
            say(
                f"    the CPU index did not serve them, going on with the ordinary index ({error.got.splitlines()[0]})"
            )
        else:
            return
    announce_torch(environment, layout)
    install(environment, layout, f"Installing torch {TORCH}", [_TRIO[0]])
    # Without dependencies: they would only ask for the torch that is there already.
    title = f"Installing torchvision {TORCHVISION} and torchaudio {TORCHAUDIO}"
    install(environment, layout, title, ["--no-deps", *_TRIO[1:]])


def announce_torch(environment: Environment, layout: Layout) -> None:
    """Says how much pip is about to download for torch, loudly if it is gigabytes.

    Raises:
        DevError: The disk cannot take it.
    """
    urls = planned_urls(environment, layout, [_TRIO[0]])
    total = download_size(urls)
    size = "of unknown size" if total is None else human_bytes(total)
    say(f"    torch {TORCH}: {len(urls)} packages, {size}")
    if total is not None and total > _GIGABYTE:
        say(f"    NOTE: a large download, {size}, because no index of CPU builds is reachable.")
        say("          To avoid it, interrupt and set COMFYUI_PATH to a ComfyUI that you already have.")
        require_space(layout.home, total * _UNPACKED_RATIO, f"torch {TORCH}")


def planned_urls(environment: Environment, layout: Layout, requirements: Sequence[str]) -> list[str]:
    """Returns the addresses of the files that pip would download; empty if this pip cannot say."""
    report = layout.logs / "pip-plan.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    plan = ["install", "--dry-run", "--quiet", "--ignore-installed", "--report", str(report), *requirements]
    subprocess.run(
        [str(environment.python), "-m", "pip", *plan],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=child_environment(layout),
    )
    if not report.is_file():
        return []
    return [
        item["download_info"]["url"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]
    ]


def without_torch(requirements: Path) -> str:
    """Returns a requirements file without the torch trio, which is installed with more care.

    Args:
        requirements: ComfyUI's requirements.txt.
    """
    trio = re.compile(r"^\s*(torch|torchvision|torchaudio)\s*([<>=!~;\[#].*)?$", re.IGNORECASE)
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not trio.match(line)) + "\n"


def torch_constraints() -> str:
    """Returns a constraints file that keeps the torch trio as it was installed."""
    return "\n".join(_TRIO) + "\n"

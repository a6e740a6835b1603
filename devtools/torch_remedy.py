"""Mends torchvision and torchaudio in a private environment, only where they do not load beside torch.

On Linux the ordinary package index has CUDA builds of both; beside a CPU torch their compiled parts do not load.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .console import say
from .environment import Environment
from .errors import DevError
from .paths import Layout
from .processes import child_environment

_REMEDY = Path(__file__).parent / "remedies" / "featurecache_torchvision_remedy.py"

_PROBE = """
import importlib, json, pathlib, sysconfig, torch

def why_not(name):
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""

print(json.dumps({
    "cuda": torch.version.cuda or "",
    "torchvision": why_not("torchvision"),
    "torchaudio": why_not("torchaudio"),
    "site": sysconfig.get_paths()["purelib"],
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchState:
    """What an environment's torch trio says of itself; the two errors are empty if the import works."""

    cuda: str
    torchvision: str
    torchaudio: str
    site: Path

    @property
    def is_sound(self) -> bool:
        """Whether all three import."""
        return not (self.torchvision or self.torchaudio)


def probe(environment: Environment, layout: Layout) -> TorchState:
    """Imports the trio in the environment's own interpreter and returns what came of it.

    Raises:
        DevError: torch itself does not import.
    """
    ran = subprocess.run(
        [str(environment.python), "-c", _PROBE],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=child_environment(layout),
    )
    if ran.returncode:
        raise _unsound(environment, ran.stderr.strip())
    answer = json.loads(ran.stdout.strip().splitlines()[-1])
    return TorchState(**{**answer, "site": Path(answer["site"])})


def mend(environment: Environment, layout: Layout) -> None:
    """Applies the remedy where a CPU torch stands beside CUDA builds, and checks that all three import.

    Raises:
        DevError: They do not, for another reason or in spite of the remedy.
    """
    state = probe(environment, layout)
    if state.is_sound:
        return
    if not state.cuda:
        say(
            "    torchvision and torchaudio are CUDA builds beside a CPU torch; leaving out their compiled parts"
        )
        _apply(state)
        state = probe(environment, layout)
    if not state.is_sound:
        raise _unsound(environment, "\n".join(filter(None, (state.torchvision, state.torchaudio))))


def _apply(state: TorchState) -> None:
    if state.torchvision:
        shutil.copyfile(_REMEDY, state.site / _REMEDY.name)
        (state.site / f"{_REMEDY.stem}.pth").write_text(f"import {_REMEDY.stem}\n", encoding="utf-8")
    if state.torchaudio:
        for library in (state.site / "torchaudio" / "lib").glob("*.so"):
            library.unlink()


def remedy_text() -> str:
    """Returns the remedy's source, an input of the environment's stamp."""
    return _REMEDY.read_text(encoding="utf-8")


def _unsound(environment: Environment, got: str) -> DevError:
    return DevError(
        "torch, torchvision and torchaudio do not load together",
        got=got,
        expected="all three import",
        fix=f"remove {environment.folder} and run setup again; if it stays so, set COMFYUI_PATH to a working ComfyUI",
    )

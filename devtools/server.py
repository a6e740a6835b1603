"""A real ComfyUI server with our pack, started for the time of a `with` block.

with Server(host=folder, python=python, base=base, env=env) as server:
    urllib.request.urlopen(f"{server.url}/system_stats")
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from .console import Ticker
from .errors import DevError
from .filesystem import link_file, link_folder, remove
from .processes import spawn, stop, tail
from .scalars import copy_with_scalars

ADDRESS = "127.0.0.1"
"""Servers of ours are reachable from this machine only."""

PACK_NAME = "ComfyUI-FeatureCache"
ZOO_NAME = "featurecache_zoo"

_SHARED_VAE, _SD3_VAE = "zoo_vae_16ch.safetensors", "zoo_vae_16ch_sd3.safetensors"
_SD3_LATENT_FORMAT = {"vae_scale": 1.5305, "vae_shift": 0.0609}
"""The zoo's Flux and SD3 share an autoencoder; the file in the repository speaks Flux's latent format."""

_MODELS = ("models/diffusion_models", "models/vae", "models/feature_cache")
_FOLDERS = (*_MODELS, "custom_nodes", "input", "output", "temp", "user")


def free_port() -> int:
    """Returns a port that is free now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def require_free_port(port: int) -> None:
    """Checks that a port can be listened on.

    Args:
        port: 1 to 65535.

    Raises:
        DevError: Another process listens there, or we may not.
    """
    with socket.socket() as probe:
        if sys.platform != "win32":
            # As the server does it: a port that was just given back counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except (OSError, OverflowError) as error:
            raise DevError(
                f"port {port} of {ADDRESS} cannot be used",
                got=str(error),
                expected="a port between 1 and 65535 that no other process listens on",
                fix="choose another with --port, leave --port out to have a free one picked, or end that process",
            ) from error


def prepare_base(base: Path, checkout: Path) -> None:
    """Fills a ComfyUI base folder: its sub-folders, links to our two packs and to the zoo's checkpoints and artefacts.

    The autoencoder that Flux and SD3 share is there a second time, in SD3's latent format. Files and links of an
    earlier run are renewed; anything else in the folder is left alone.

    Args:
        base: The folder for `--base-directory`; made if need be.
        checkout: Root of our checkout.
    """
    for name in _FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    zoo = checkout / "benchmarks" / "zoo"
    for source, name in ((checkout, PACK_NAME), (zoo, ZOO_NAME)):
        link = base / "custom_nodes" / name
        remove_link(link)
        if source.is_dir():
            link_folder(source, link)
    for checkpoint in sorted((zoo / "checkpoints").glob("*.safetensors")):
        _link_model(checkpoint, base, "vae" if "vae" in checkpoint.name else "diffusion_models")
    for artefact in sorted((zoo / "artefacts").glob("*.safetensors")):
        _link_model(artefact, base, "feature_cache")
    shared = zoo / "checkpoints" / _SHARED_VAE
    if shared.is_file():
        copy_with_scalars(shared, base / "models" / "vae" / _SD3_VAE, _SD3_LATENT_FORMAT)


def _link_model(file: Path, base: Path, kind: str) -> None:
    link = base / "models" / kind / file.name
    remove(link)
    link_file(file, link)


def remove_link(link: Path) -> None:
    """Removes a folder link of `link_folder`, never what it points to."""
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        # A junction is an empty folder to rmdir; a real folder with contents makes it fail, as it should.
        link.rmdir()


@dataclass(slots=True, kw_only=True)
class Server:
    """A ComfyUI server; listens while the `with` block runs, and is gone with all its children afterwards."""

    host: Path
    """The ComfyUI folder."""
    python: Path
    """The interpreter that runs it."""
    base: Path
    """Its base folder: models, custom nodes, outputs."""
    env: Mapping[str, str]
    """Its whole environment, see `processes.child_environment`."""
    checkout: Path = Path(__file__).resolve().parent.parent
    port: int | None = None
    """A free one is picked where none is named."""
    cpu: bool = True
    """Whether to keep ComfyUI off an accelerator."""
    timeout: float = 180.0
    """Seconds until it must answer."""
    arguments: Sequence[str] = ()
    """Further arguments of ComfyUI's main.py."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """File with everything that the server prints."""
        return self.base / "server.log"

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://{ADDRESS}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, "the server runs inside its with block only"
        return self._process.pid

    def command(self) -> list[str]:
        """Returns the command line that starts it."""
        database = (self.base / "user" / "comfyui.db").absolute().as_posix()
        # A database file and not one in memory: ComfyUI up to 0.18 opens a second, empty one there.
        fixed = ["--listen", ADDRESS, "--port", str(self.port), "--base-directory", str(self.base.absolute())]
        fixed += ["--database-url", f"sqlite:///{database}", "--disable-auto-launch", "--disable-api-nodes"]
        device = ["--cpu"] if self.cpu else []
        return [str(self.python), str(self.host / "main.py"), *device, *fixed, *self.arguments]

    def stats(self) -> dict[str, Any]:
        """Returns what the server says of itself and its machine (GET /system_stats).

        Raises:
            OSError: It does not answer.
        """
        # No proxy: the server is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/system_stats", timeout=5) as answer:
            stats: dict[str, Any] = json.load(answer)
        return stats

    def __enter__(self) -> Server:
        """Starts the server and waits until it answers.

        Raises:
            DevError: The port is taken, the server dies, or it does not answer in time.
        """
        if self.port is None:
            self.port = free_port()
        require_free_port(self.port)
        prepare_base(self.base, self.checkout)
        with self.log.open("wb") as output:
            self._process = spawn(self.command(), log=output, env=self.env, cwd=self.base)
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends the server and everything that it started."""
        self._stop()

    def wait(self) -> int:
        """Waits until the server ends by itself, and returns its exit status."""
        assert self._process is not None, "the server runs inside its with block only"
        return self._process.wait()

    def _stop(self) -> None:
        if self._process is not None:
            stop(self._process)

    def _wait(self) -> None:
        assert self._process is not None
        ticker = Ticker()
        try:
            while not self._answers():
                if self._process.poll() is not None:
                    raise self._failed(f"it ended with exit status {self._process.returncode}")
                if time.monotonic() - ticker.start > self.timeout:
                    raise self._failed(f"no answer after {self.timeout:.0f} s")
                ticker.tick(tail(self.log, lines=1))
                time.sleep(0.1)
        finally:
            ticker.close()

    def _answers(self) -> bool:
        try:
            self.stats()
        except OSError:
            return False
        return True

    def _failed(self, cause: str) -> DevError:
        return DevError(
            "the ComfyUI server did not start",
            got=f"{cause}; the end of its log:\n{tail(self.log, lines=30)}",
            expected=f"an answer at {self.url}/system_stats",
            fix="read the log above; `python dev.py clean` and the same command again rules out a damaged set-up",
        )

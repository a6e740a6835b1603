from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scalar_file import write_file

from devtools import server
from devtools.errors import DevError
from devtools.server import Server

ANSWERING = """
import http.server, json, subprocess, sys, pathlib
port = int(sys.argv[sys.argv.index("--port") + 1])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("child").write_text(str(child.pid))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"system": {"comfyui_version": "0"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind((server.ADDRESS, 0))
        other.listen()
        yield other.getsockname()[1]


def make(tmp_path: Path, main: str, **options: object) -> Server:
    (tmp_path / "main.py").write_text(main)
    values: dict[str, object] = {"timeout": 20.0, **options}
    return Server(
        host=tmp_path,
        python=Path(sys.executable),
        base=tmp_path / "base",
        env=dict(os.environ),
        checkout=tmp_path / "checkout",
        **values,  # type: ignore[arg-type]
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that init has not collected yet is dead all the same.
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_a_busy_port_is_refused_with_the_option_to_change(tmp_path: Path, busy_port: int) -> None:
    with (
        pytest.raises(DevError, match=f"port {busy_port}") as caught,
        make(tmp_path, ANSWERING, port=busy_port),
    ):
        pytest.fail("must not start")
    assert "--port" in caught.value.fix
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("port", [-1, 70000])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(DevError, match="cannot be used"):
        server.require_free_port(port)


def test_a_server_answers_and_is_gone_with_its_children(tmp_path: Path) -> None:
    with make(tmp_path, ANSWERING) as running:
        assert running.stats() == {"system": {"comfyui_version": "0"}}
        pid, child = running.pid, int((tmp_path / "base" / "child").read_text())
        assert is_alive(pid) and is_alive(child)
    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)
    assert not is_alive(child)


def test_an_interrupt_ends_the_server(tmp_path: Path) -> None:
    running = make(tmp_path, ANSWERING)

    def interrupted() -> None:
        with running:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not is_alive(running.pid)


def test_a_server_that_dies_shows_its_log(tmp_path: Path) -> None:
    main = "print('no module named torch'); raise SystemExit(3)"
    with pytest.raises(DevError, match="did not start") as caught, make(tmp_path, main):
        pytest.fail("must not start")
    assert "exit status 3" in caught.value.got
    assert "no module named torch" in caught.value.got


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    silent = make(tmp_path, "import time; time.sleep(60)", timeout=0.5)
    with pytest.raises(DevError, match="did not start") as caught, silent:
        pytest.fail("must not start")
    assert "no answer" in caught.value.got
    assert not is_alive(silent.pid)


def test_the_base_folder_links_the_packs_the_checkpoints_and_the_artefacts(tmp_path: Path) -> None:
    zoo = tmp_path / "checkout" / "benchmarks" / "zoo"
    checkpoints = zoo / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("zoo_flux.safetensors", "zoo_vae_4ch.safetensors", "zoo_flux.md"):
        (checkpoints / name).write_text(name)
    (zoo / "artefacts").mkdir()
    (zoo / "artefacts" / "zoo_flux_router.safetensors").touch()
    base = tmp_path / "base"
    for _ in range(2):
        server.prepare_base(base, tmp_path / "checkout")
    packs = sorted(path.name for path in (base / "custom_nodes").iterdir())
    assert packs == ["ComfyUI-FeatureCache", "featurecache_zoo"]
    assert (base / "models/diffusion_models/zoo_flux.safetensors").read_text() == "zoo_flux.safetensors"
    assert [path.name for path in (base / "models/vae").iterdir()] == ["zoo_vae_4ch.safetensors"]
    assert (base / "custom_nodes/featurecache_zoo/checkpoints/zoo_flux.md").exists()
    assert (base / "models/feature_cache/zoo_flux_router.safetensors").exists()


def test_the_base_folder_has_the_shared_autoencoder_in_sd3s_latent_format_too(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkout" / "benchmarks" / "zoo" / "checkpoints" / "zoo_vae_16ch.safetensors"
    checkpoint.parent.mkdir(parents=True)
    write_file(checkpoint, vae_scale=0.3611, vae_shift=0.1159)
    server.prepare_base(tmp_path / "base", tmp_path / "checkout")
    vae = tmp_path / "base" / "models" / "vae"
    sd3 = write_file(tmp_path / "expected", vae_scale=1.5305, vae_shift=0.0609)
    assert (vae / "zoo_vae_16ch_sd3.safetensors").read_bytes() == sd3.read_bytes()
    assert (vae / "zoo_vae_16ch.safetensors").read_bytes() == checkpoint.read_bytes()


def test_a_folder_of_the_users_is_never_removed_for_a_link(tmp_path: Path) -> None:
    theirs = tmp_path / "ComfyUI-FeatureCache"
    theirs.mkdir()
    (theirs / "work.txt").touch()
    with pytest.raises(OSError):
        server.remove_link(theirs)
    assert (theirs / "work.txt").exists()


def test_the_server_is_local_and_leaves_the_comfyui_folder_alone(tmp_path: Path) -> None:
    command = make(tmp_path, "", port=8188).command()
    assert command[command.index("--listen") + 1] == "127.0.0.1"
    assert command[command.index("--base-directory") + 1] == str(tmp_path / "base")
    assert str(tmp_path / "base" / "user") in command[command.index("--database-url") + 1]
    assert "--cpu" in command
    assert "--cpu" not in make(tmp_path, "", port=8188, cpu=False).command()

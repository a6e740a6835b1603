from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import network, packages, torch_remedy
from devtools.environment import Environment
from devtools.errors import DevError
from devtools.paths import layout

FAKE_TORCH = """
class _Version:
    cuda = {cuda!r}
version = _Version()
class _Torchvision:
    roi_align = 1
class ops:
    torchvision = _Torchvision()
class library:
    @staticmethod
    def register_fake(op):
        name = op.split("::")[1]
        if not hasattr(ops.torchvision, name):
            raise RuntimeError(f"operator {{op}} does not exist")
        return lambda function: registered.append(name) or function
registered = []
"""
FAKE_TORCHVISION = """
import torch
for name in ("roi_align", "nms"):
    torch.library.register_fake(f"torchvision::{name}")(print)
"""
FAKE_TORCHAUDIO = """
import pathlib
if list((pathlib.Path(__file__).parent / "lib").glob("*.so")):
    raise OSError("libc10_cuda.so: cannot open shared object file")
"""


def test_the_torch_trio_is_left_out_of_the_hosts_requirements(comfyui: Path) -> None:
    assert packages.without_torch(comfyui / "requirements.txt") == "torchsde\nnumpy>=1.25.0\n"


@pytest.mark.parametrize(
    "line", ["torch==2.4", "torch>=2 ; python_version > '3'", "Torch", "torchvision # why"]
)
def test_it_is_recognised_in_every_spelling(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text(f"{line}\nscipy\n")
    assert packages.without_torch(tmp_path / "requirements.txt") == "scipy\n"


def test_sizes_of_files_are_added_up(tmp_path: Path) -> None:
    for name, size in (("a b", 3), ("c", 4)):
        (tmp_path / name).write_bytes(b"x" * size)
    urls = [(tmp_path / "a b").as_uri(), (tmp_path / "c").as_uri()]
    assert network.download_size(urls) == 7
    assert network.download_size([*urls, (tmp_path / "missing").as_uri()]) is None


def test_nothing_is_reachable_where_nothing_listens() -> None:
    assert not network.is_reachable("http://127.0.0.1:9/", seconds=1.0)


def test_gigabytes_are_announced_and_need_their_space(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "planned_urls", lambda *_: ["u"] * 25)
    monkeypatch.setattr(packages, "download_size", lambda _: 2_900_000_000)
    asked: list[int] = []
    monkeypatch.setattr(packages, "require_space", lambda _folder, needed, _purpose: asked.append(needed))
    packages.announce_torch(Environment(folder=tmp_path), layout(checkout=checkout))
    assert "25 packages, 2.9 GB" in capsys.readouterr().out
    assert asked == [8_700_000_000]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(folder=tmp_path / "env")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made.folder)], check=True)
    return made


def site(environment: Environment) -> Path:
    ask = "import json, sysconfig; print(json.dumps(sysconfig.get_paths()['purelib']))"
    return Path(json.loads(subprocess.check_output([str(environment.python), "-c", ask], text=True)))


def put_trio(environment: Environment, cuda: str | None) -> None:
    sources = {
        "torch": FAKE_TORCH.format(cuda=cuda),
        "torchvision": FAKE_TORCHVISION,
        "torchaudio": FAKE_TORCHAUDIO,
    }
    for name, source in sources.items():
        package = site(environment) / name
        (package / "lib").mkdir(parents=True)
        (package / "lib" / "lib.so").touch()
        (package / "__init__.py").write_text(source)


def test_cuda_builds_beside_a_cpu_torch_are_mended(checkout: Path, environment: Environment) -> None:
    place = layout(checkout=checkout)
    put_trio(environment, cuda=None)
    assert not torch_remedy.probe(environment, place).is_sound
    torch_remedy.mend(environment, place)
    assert torch_remedy.probe(environment, place).is_sound
    ask = "import torchvision, torch; print(torch.registered)"
    assert subprocess.check_output([str(environment.python), "-c", ask], text=True) == "['roi_align']\n"
    assert (site(environment) / "torch" / "lib" / "lib.so").exists()


def test_a_cuda_torch_is_left_alone(checkout: Path, environment: Environment) -> None:
    put_trio(environment, cuda="13.0")
    with pytest.raises(DevError, match="do not load together") as caught:
        torch_remedy.mend(environment, layout(checkout=checkout))
    assert "torchvision::nms" in caught.value.got
    assert not list(site(environment).glob("featurecache*"))
    assert (site(environment) / "torchaudio" / "lib" / "lib.so").exists()


def test_a_missing_torch_is_explained(checkout: Path, environment: Environment) -> None:
    with pytest.raises(DevError, match="do not load together") as caught:
        torch_remedy.mend(environment, layout(checkout=checkout))
    assert "No module named 'torch'" in caught.value.got

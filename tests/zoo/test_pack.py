"""The folder as a node pack: loaded under a path-derived name, and light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

PROGRAM = """
import importlib.util, sys
folder, host = sys.argv[1:]
sys.path.insert(0, host)
from comfy.cli_args import args
args.cpu = True
import comfy_api.latest
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("custom_nodes/a-pack.x", folder + "/__init__.py",
                                              submodule_search_locations=[folder])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
print(module.comfy_entrypoint.__name__, *sorted(name for name in set(sys.modules) - before))
"""


@pytest.mark.host
def test_the_pack_loads_nothing_but_its_nodes(host_path):
    folder = BENCHMARKS / "zoo"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(host_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    entry, *loaded = answer.stdout.strip().splitlines()[-1].split()
    assert entry == "comfy_entrypoint"
    ours = {name.rsplit(".", 1)[-1] for name in loaded if "a-pack.x" in name}
    assert ours == {"x", "nodes", "captions", "loading", "architectures"}
    assert not any(name.split(".")[0] in ("matplotlib", "PIL", "safetensors") for name in loaded)


def test_the_training_package_imports_without_a_host():
    program = "import sys, zoo; assert zoo.__all__ == []; assert 'zoo.nodes' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=BENCHMARKS)

"""The commands of `dev.py`, one function each; every one returns an exit status."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
import time
import webbrowser
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import checks, comfy_folder
from .comfy_folder import VARIABLE
from .console import human_bytes, say, step
from .environment import Environment
from .errors import DevError
from .filesystem import free_bytes, remove, tree_size
from .host import Setup, ensure_setup, named_by_user, origin_of
from .paths import Layout, layout
from .server import Server, remove_link
from .versions import ARCHIVES


def setup(options: Namespace) -> int:
    """Makes everything ready and says where it is."""
    start, place = time.monotonic(), layout(options.cache_dir)
    was_empty = not place.environments.exists()
    ready = _ready(options, place)
    host = ready.host
    say(f"ComfyUI {host.version} ({host.origin}): {host.folder}")
    say(f"its Python: {host.python}")
    say(f"comfy-cli: {ready.tools.script('comfy')}")
    if was_empty:
        say(f"cache folder: {place.home}, {human_bytes(tree_size(place.home))}")
    say(f"ready in {time.monotonic() - start:.1f} s")
    return 0


def lint(options: Namespace) -> int:
    """Runs ruff and mypy."""
    place = layout(options.cache_dir)
    failed = checks.lint(_ready(options, place), place, fix=options.fix)
    return _verdict(failed)


def test(options: Namespace) -> int:
    """Runs every check and every test; pytest comes last, so that its summary closes the output."""
    place = layout(options.cache_dir)
    ready = _ready(options, place)
    if options.matrix:
        return checks.test(ready, place, ["--matrix", *options.rest, "tests/matrix"])
    failed = checks.lint(ready, place)
    status = checks.test(ready, place, options.rest, quick=options.quick)
    return _verdict([*failed, *(["pytest"] if status else [])])


def demo(options: Namespace) -> int:
    """Starts the server and runs the demonstration against it."""
    place = layout(options.cache_dir)
    script = place.checkout / "benchmarks" / "demo.py"
    _require_file(script)
    ready = _ready(options, place)
    output = Path(options.output).absolute()
    with _temporary_base(place) as base, _server(ready, place, base, options) as server:
        argv = [str(ready.host.python), str(script), "--server", server.url, "--output", str(output)]
        argv += ["--tools-python", str(ready.tools.python), *options.rest]
        return subprocess.run(argv, check=False, env=checks.environment(ready, place)).returncode


def serve(options: Namespace) -> int:
    """Runs ComfyUI for a person in the browser until Ctrl-C; its outputs stay in the cache folder."""
    place = layout(options.cache_dir)
    ready = _ready(options, place)
    base = place.runs / f"serve-{place.checkout_id}"
    with _server(ready, place, base, options) as server:
        say(f"ComfyUI {ready.host.version} is at {server.url} - Ctrl-C ends it; its log: {server.log}")
        if options.open:
            webbrowser.open(server.url)
        return server.wait()


ZOO_PROGRAMS = {
    "train": "train",
    "evaluate": "evaluate",
    "sheets": "sheets",
    "routers": "train_routers",
    "artefacts": "write_artefacts",
    "workflows": "write_workflows",
}
"""The zoo's commands and the modules that carry them out."""


def zoo(options: Namespace) -> int:
    """Runs one of the zoo's programs in the host's environment."""
    place = layout(options.cache_dir)
    benchmarks = place.checkout / "benchmarks"
    program = ZOO_PROGRAMS[options.what]
    _require_file(benchmarks / "zoo" / f"{program}.py")
    ready = _ready(options, place)
    argv = [str(ready.host.python), "-m", f"zoo.{program}", *options.rest]
    return subprocess.run(argv, check=False, cwd=benchmarks, env=checks.environment(ready, place)).returncode


BENCHMARKS = {
    "corrections": "bench_corrections",
    "gpu": "bench_gpu",
    "overhead": "overhead",
    "methods": "bench_methods",
    "presets": "bench_presets",
    "quality": "bench_quality",
    "routers": "bench_routers",
    "schedule": "bench_schedule",
    "server": "bench_server",
}
"""The benchmarks and the modules that carry them out."""
SERVED = frozenset({"server"})
"""Those that run against a ComfyUI server of ours."""


def bench(options: Namespace) -> int:
    """Runs one of the benchmarks in the host's environment."""
    place = layout(options.cache_dir)
    script = place.checkout / "benchmarks" / f"{BENCHMARKS[options.what]}.py"
    _require_file(script)
    ready = _ready(options, place)
    argv, env = [str(ready.host.python), str(script)], checks.environment(ready, place)
    if options.what not in SERVED:
        return subprocess.run([*argv, *options.rest], check=False, env=env).returncode
    on_cpu = Namespace(port=None, gpu=False)
    with _temporary_base(place) as base, _server(ready, place, base, on_cpu) as server:
        argv += ["--server", server.url, "--log", str(server.log)]
        return subprocess.run([*argv, *options.rest], check=False, env=env).returncode


def launcher(processes: int) -> list[str]:
    """Return what comes between Python and a script that is to run in several processes."""
    crew = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    # The dashes keep the launcher from taking the script's options for abbreviations of its own.
    return [*crew, "--"] if processes > 1 else []


def train_router(options: Namespace) -> int:
    """Trains a router without a server, in one process or several."""
    place = layout(options.cache_dir)
    script = place.checkout / "benchmarks" / "train_router.py"
    _require_file(script)
    ready = _ready(options, place)
    argv = [str(ready.host.python), *launcher(options.processes), str(script), *options.rest]
    return subprocess.run(argv, check=False, env=checks.environment(ready, place)).returncode


def docs(options: Namespace) -> int:
    """Writes the pages that are made from measurements and from the code."""
    place = layout(options.cache_dir)
    ready = _ready(options, place)
    argv = [str(ready.host.python), str(place.checkout / "benchmarks" / "write_docs.py"), *options.rest]
    return subprocess.run(argv, check=False, env=checks.environment(ready, place)).returncode


def info(options: Namespace) -> int:
    """Says what is where, in which version, and how much disk it takes. Makes nothing."""
    place = layout(options.cache_dir)
    say(f"Python {platform.python_version()} on {platform.platform()}")
    say(f"checkout: {place.checkout}")
    say(f"cache folder: {place.home}, {human_bytes(free_bytes(place.home))} free on its disk")
    existing = named_by_user()
    if existing is not None:
        say(f"{VARIABLE}: ComfyUI {comfy_folder.version(existing)} at {existing}")
    for version in ARCHIVES:
        say(f"ComfyUI {version}: {_state(place.hosts / version)}")
    for folder in sorted(path for path in place.environments.glob("*") if path.is_dir()):
        say(
            f"environment {folder.name}: {human_bytes(tree_size(folder))}, {Environment(folder=folder).python}"
        )
    used = tree_size(place.home) if place.home.is_dir() else 0
    say(f"disk used: {human_bytes(used)}")
    return 0


def clean(options: Namespace) -> int:
    """Removes the cache folder, or of it one ComfyUI version with its environment."""
    place = layout(options.cache_dir)
    version = options.host_version
    if not place.marker.exists():
        say(f"nothing to remove: {place.home} is no cache folder of ours")
        return 0
    with step(f"Removing {'everything' if version is None else f'ComfyUI {version}'} from {place.home}"):
        for folder in (
            (place.hosts / version, place.environments / f"host-{version}") if version else (place.home,)
        ):
            remove(folder)
    return 0


def _ready(options: Namespace, place: Layout) -> Setup:
    return ensure_setup(place, options.host_version)


def _server(ready: Setup, place: Layout, base: Path, options: Namespace) -> Server:
    say(f"==> Starting ComfyUI {ready.host.version}")
    return Server(
        host=ready.host.folder,
        python=ready.host.python,
        base=base,
        env=checks.environment(ready, place),
        checkout=place.checkout,
        port=options.port,
        cpu=not options.gpu,
    )


@contextmanager
def _temporary_base(place: Layout) -> Iterator[Path]:
    place.runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=place.runs))
    try:
        yield folder
    finally:
        # Python up to 3.11 would follow a Windows junction; ours are taken away before the rest.
        for link in (folder / "custom_nodes").glob("*"):
            remove_link(link)
        shutil.rmtree(folder, ignore_errors=True)


def _state(folder: Path) -> str:
    if comfy_folder.missing(folder):
        return "not fetched"
    return f"{human_bytes(tree_size(folder))} from {origin_of(folder)}, {folder}"


def _require_file(script: Path) -> None:
    if not script.is_file():
        raise DevError(
            "this checkout is incomplete",
            got=f"no file {script}",
            expected="a complete checkout of the repository",
            fix="restore it, for example with `git checkout -- benchmarks`",
        )


def _verdict(failed: list[str]) -> int:
    if failed:
        say(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0

"""What the engine itself costs: `python dev.py bench overhead`.

Random weights in ComfyUI's own classes. At every level each network is called in turn plainly, computing everything
(all sites recorded and routed) and reusing everything, in an order that turns from round to round. Ratios are taken within
a round, between neighbours, so that what else the machine does hits both sides.

On the CPU the seconds are those that the thread itself computed, with a few blocks of growing width; with CUDA they
are those of the whole call, waited for, at full size in bfloat16.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from overhead_networks import FULL, SMALL, Network
from torch import Tensor
from tqdm import tqdm
from zoo.host import prepare_host

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "results" / "overhead.json"
PAGE = ROOT / "docs" / "results" / "overhead.md"
LEVELS = ("module", "block", "stack", "model")


NOTE = (
    "`computed` is the change of a call's time where everything is recorded and routed, with the quartiles of the rounds; "
    "`reused` the share of it that is left where everything is reused. At level `model` the engine does next to nothing, so "
    "its `computed` shows the noise of the measurement."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network at one level.

    Attributes:
        seconds: Median seconds of a plain call.
        computed: Median over rounds of (call with everything computed) / (plain call) - 1.
        spread: Lower and upper quartile of the same.
        reused: Median of (call with everything reused) / (plain call).
        peak_bytes: Most device memory of a computed call less that of a plain one; None on the CPU.
        held_bytes: Bytes of features held.
    """

    network: str
    width: int
    level: str
    seconds: float
    computed: float
    spread: tuple[float, float]
    reused: float
    peak_bytes: int | None
    held_bytes: int


class Engine:
    """One cache on one network: a run whose calls compute everything, or whose calls reuse everything."""

    def __init__(self, core: Any, network: Network, level: str, interval: int) -> None:
        """Begin a run of FORA at `level`, computing one call in `interval`."""
        fora = core.POLICIES["fora"]
        policy = fora(fora.config_type(level=level, interval=interval, anchor="start"))
        run = core.Run(sigmas=(1.0, 0.0))
        self._core, self._network = core, network
        self.session = core.CacheSession(policy, run, network.device)
        shape = tuple(network.arguments["x"].shape)
        self._lane = core.Lane(branch=0, variant=0, shape=shape, dtype=network.dtype, device=network.device)

    def call(self) -> Tensor:
        """Run the network once through the cache."""
        with (
            self.session.open_call(0.5),
            self.session.open_pass(self._network.module, [self._lane]) as opened,
            self._core.scoped_forwards(opened.patches),
        ):
            return self._network.call()


def measure(core: Any, network: Network, rounds: int) -> list[Row]:
    """Return the rows of one network, one per level."""
    return [_measure_level(core, network, level, rounds) for level in LEVELS]


def _measure_level(core: Any, network: Network, level: str, rounds: int) -> Row:
    """Call the network plainly, computing and reusing; plain and computing are always neighbours in time."""
    computing, reusing = (Engine(core, network, level, interval) for interval in (1, 100))
    calls = {"plain": network.call, "computed": computing.call, "reused": reusing.call}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    peaks: dict[str, int] = {}
    for number in range(rounds + 1):
        for name in list(calls) if number % 2 else list(reversed(calls)):
            spent, peaks[name] = _timed(calls[name], network.device)
            # The first round warms up: everything is computed and room is made for it.
            if number:
                seconds[name].append(spent)
    row = _row(network, level, seconds, peaks, computing.session.store.num_bytes)
    for engine in (computing, reusing):
        engine.session.close(seconds=0.0)
    return row


def _row(
    network: Network, level: str, seconds: dict[str, list[float]], peaks: dict[str, int], held_bytes: int
) -> Row:
    def ratios(name: str) -> list[float]:
        return [with_cache / plain for with_cache, plain in zip(seconds[name], seconds["plain"], strict=True)]

    computed = [ratio - 1 for ratio in ratios("computed")]
    lower, _, upper = quantiles(computed, n=4)
    return Row(
        network=network.name,
        width=network.width,
        level=level,
        seconds=median(seconds["plain"]),
        computed=median(computed),
        spread=(lower, upper),
        reused=median(ratios("reused")),
        peak_bytes=peaks["computed"] - peaks["plain"] if network.device.type == "cuda" else None,
        held_bytes=held_bytes,
    )


def _timed(call: Callable[[], Tensor], device: torch.device) -> tuple[float, int]:
    """Return the seconds of a call, and the most device memory it held."""
    if device.type != "cuda":
        started = time.thread_time()
        call()
        return time.thread_time() - started, 0
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started, torch.cuda.max_memory_allocated(device)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| network | width | level | plain s | computed | quartiles | reused | held MB |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        low, high = row.spread
        lines.append(
            f"| {row.network} | {row.width} | {row.level} | {row.seconds:.3f} | {row.computed:+.1%} "
            f"| {low:+.1%} to {high:+.1%} | {row.reused:.1%} | {row.held_bytes / 1e6:.1f} |"
        )
    return "\n".join(lines)


def page(record: dict[str, Any]) -> str:
    """Return the page for all that was measured until now."""
    parts = ["# What the engine costs", inspect.cleandoc(__doc__ or "")]
    for kind, measured in record.items():
        rows = [Row(**row) for row in measured["rows"]]
        how = f"{measured['machine']}, {measured['threads']} thread(s), torch {measured['torch']}, {measured['rounds']} rounds."
        parts += [f"## {kind.upper()}", how, table(rows), NOTE]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds per network (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU (default: %(default)s)")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    prepare_host()
    sys.path.append(str(ROOT))
    core = importlib.import_module("cache_core")
    torch.set_num_threads(options.threads)
    on_cuda = torch.cuda.is_available()
    if not on_cuda:
        print("no CUDA device: full-size networks are skipped, small ones are measured on the CPU")
    rows: list[Row] = []
    with torch.inference_mode():
        for make in tqdm([m for m in (FULL if on_cuda else SMALL) if options.only in m.name]):
            rows += measure(core, make(), options.rounds)
            gc.collect()
    print(table(rows))
    if not options.no_write:
        _write(rows, options)
    return 0


def _write(rows: Sequence[Row], options: argparse.Namespace) -> None:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    machine = torch.cuda.get_device_name() if kind == "cuda" else f"{platform.system()} {platform.machine()}"
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    record[kind] = {
        "command": "python dev.py bench overhead",
        "machine": machine,
        "threads": options.threads,
        "rounds": options.rounds,
        "torch": torch.__version__,
        "rows": [asdict(row) for row in rows],
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(page(record), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())

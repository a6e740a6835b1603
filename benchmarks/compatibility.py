"""The page docs/compatibility.md, from what `python dev.py test --matrix` wrote down for each host.

One record per ComfyUI version stands in docs/results/matrix/; `--matrix-record` writes it.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "results" / "matrix"
PAGE = ROOT / "docs" / "compatibility.md"
FUNCTIONS = {"ddim": "euler", "uni_pc": "unipc", "uni_pc_bh2": "unipc_bh2"}
"""Names of the menu that run a function of another name."""

INTRODUCTION = """\
# What works together

Every number on this page is counted by `python dev.py test --matrix`, which builds each cell (a graph around a cached
model) in the real ComfyUI and holds for it:

* at interval 1 the latent is that of the graph without our node, bit for bit;
* at interval 2 it is that of an independent oracle, bit for bit: the plain model under forward hooks that hand back what
  they recorded, told apart by the bytes of the conditioning;
* as many features were computed and reused in every call as the oracle counted;
* a second run is identical, and so is a run without the node afterwards; nothing is left on the model;
* branches that come one by one make the same decisions as branches in one batch.

Models are tiny with random weights, in ComfyUI's own classes, on the CPU; the cells named after the zoo draw pictures with
trained ones, interval 2 in the middle half of the run, and hold them to 30 dB of the uncached ones (24 dB on PixArt). A core of the cells runs in
every `python dev.py test`."""

REFUSED = """\
## What is refused

Said before the first step, also where the other node comes after ours.

| node | beside a cache of ours | instead |
|---|---|---|
| `EasyCache`, `LazyCache` | Both skip work without knowing of the other. Tried on the zoo's Flux: features were reused for longer than either node was told, at 20 steps the last call computed nothing, and calls that did no work were counted as computed in full. | one of the two |
| `FluxKVCache` | It drops the tokens of reference pictures after the first call, so what was kept of that call does not fit the others. | one of the two |
| a second cache of this pack | A MODEL carries one. | one of the two |
| a loader whose network is none of ComfyUI's own classes for Flux, SD3 or PixArt | There is no adapter. | - |

Caches of other packs that replace a model's whole forward cannot be recognised by us; do not combine them."""

SLOWER = """\
## What works, and costs a little

* `torch.compile`: the cached blocks run uncompiled, and the log says so once per run.
* A prompt that begins in the middle of a run, a patch that another node puts in, a changed size: computed once, reused
  from then on; the other branches are not disturbed.
* A LoRA on a prompt (hooks) whose keyframes change its strength during the run: what that prompt held is dropped at every
  change and computed once.
* Context windows: each window is a lane of its own, so memory grows with their number.
* ComfyUI's multi-GPU split (0.24.1 and later): the passes of a call are queued one after the other, in ComfyUI's own order
  without threads, so that a call has one decision; devices overlap as far as their work is only queued. Held by tests with
  two CPU devices, not run on two GPUs.
* At level `model` a reused call runs no layer: the stop button takes effect in the next call that does, and a preview
  shows nothing new in between.
* Samplers that do not say how many calls they will make (`dpm_fast`, `dpm_adaptive`, `heunpp2`, `uni_pc`, `uni_pc_bh2`):
  intervals are counted from the start of the run, and calls of its last step are computed.
* The negative prompt beside areas of one size: ComfyUI asks for it once per area and does not say for which, so these copies
  are computed every time.
* Patches for U-Nets (`PerturbedAttentionGuidance`) change nothing in these models, with and without a cache."""

WARNED = """\
## Samplers: how near the picture stays

PSNR in dB of decoded pictures against the uncached ones of the same seed, mean of two captions: FORA, interval 2 in the
middle half of 20 steps, `simple` schedule, cfg 4 (1.5 for `cfg_pp`), on the zoo's trained models. The bound is 30 dB, on PixArt,
whose pictures change more from step to step, 24 dB.
Samplers marked *warns* are the ones that miss it on one of the models, or missed it with other captions: a run that reuses
anything with them says so once, in the log and in the report. An ancestral sampler with `eta` 0 adds no noise and does not
warn. `-` was not measured."""


def pages() -> dict[Path, str]:
    """Return the page by its place; none before the matrix was recorded on any host."""
    records = _records()
    return {PAGE: page(records)} if records else {}


def page(records: list[dict[str, Any]]) -> str:
    """Return the page.

    Args:
        records: What the matrix wrote down, newest host first.
    """
    parts = [
        INTRODUCTION,
        "## Counts",
        _counts(records),
        "## Differences between the hosts",
        _differences(records),
        REFUSED,
        WARNED,
        _samplers(records),
        SLOWER,
    ]
    return "\n\n".join(parts) + "\n"


def _records() -> list[dict[str, Any]]:
    """Return the records, newest host first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RECORDS.glob("*.json")]
    return sorted(found, key=lambda record: [int(part) for part in record["host"].split(".")], reverse=True)


def _counts(records: list[dict[str, Any]]) -> str:
    groups = list(dict.fromkeys(group for record in records for group in record["cells"]))
    head = "| cells of | " + " | ".join(f"ComfyUI {record['host']}" for record in records) + " |"
    rows = [
        f"| {group} | " + " | ".join(_count(r["cells"].get(group, {})) for r in records) + " |"
        for group in groups
    ]
    whole = [
        {f"{g}/{name}": o for g, cells in r["cells"].items() for name, o in cells.items()} for r in records
    ]
    rows.append("| **all** | " + " | ".join(_count(cells) for cells in whole) + " |")
    return "\n".join([head, "|---|" + "--:|" * len(records), *rows])


def _count(cells: dict[str, str]) -> str:
    """Return how many cells passed, and what became of the others."""
    kinds = Counter(outcome.split(":")[0] for outcome in cells.values())
    others = [f"{kinds[kind]} {kind}" for kind in ("failed", "skipped") if kinds[kind]]
    return ", ".join([f"{kinds['passed']} passed", *others]) if cells else "not run"


def _differences(records: list[dict[str, Any]]) -> str:
    """Return, per host, why cells were skipped: a node, a sampler or a checkpoint that is not there."""
    lines = []
    for record in records:
        reasons = Counter(
            outcome.removeprefix("skipped: ")
            for cells in record["cells"].values()
            for outcome in cells.values()
            if outcome.startswith("skipped")
        )
        found = "; ".join(f"{reason} ({number})" for reason, number in sorted(reasons.items()))
        lines.append(f"* **{record['host']}**: {found or 'nothing was skipped'}.")
    return "\n".join(lines)


def _samplers(records: list[dict[str, Any]]) -> str:
    """Return the measured PSNR of every sampler, by model, from the newest host that has one."""
    measured = next((record["psnr"] for record in records if record["psnr"]), {})
    table = _table()
    drifting = table.FRESH_NOISE | table.AMPLIFYING
    models = sorted(measured)
    samplers = sorted({name for values in measured.values() for name in values}, key=str)
    lines = ["| sampler | " + " | ".join(models) + " | |", "|---|" + "--:|" * len(models) + "---|"]
    for name in samplers:
        values = [f"{measured[m][name]:.1f}" if name in measured[m] else "-" for m in models]
        note = "warns" if FUNCTIONS.get(name, name) in drifting else ""
        lines.append(f"| `{name}` | " + " | ".join(values) + f" | {note} |")
    return "\n".join(lines)


def _table() -> ModuleType:
    """Load the table of samplers by its place: it knows no host."""
    spec = importlib.util.spec_from_file_location("samplers_for_the_page", ROOT / "nodes" / "samplers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

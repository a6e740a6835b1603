"""Writes what the documentation takes from measurements and from the code: `python dev.py docs`.

The README's tables come from docs/results/demo.json and docs/results/quality_duels.csv; a method's page from its docstring,
its settings and its rows in docs/results/methods_*.json.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import compatibility
from footprints import memory_table
from quality import corrections, presets
from quality.fronts.pages import readme_block
from quality.tables import Record, method_block, read_studies

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
RECORD = RESULTS / "demo.json"


FORESEEN = """\
What that comes to by level, as `benchmarks/footprints.py` foresees it with the arithmetic of `cache_core/footprint.py` that ComfyUI's own
estimate is told too: without a budget, in MB of 1024 x 1024 bytes as in the report."""

EXPLAINED = """\
On the zoo's small models: 20 Euler steps, cfg 4, against the uncached run of the same seed; `python dev.py bench methods`,
with all measures in [methods, measured](../results/methods.md). *refresh* is computed over all site evaluations, *cost* the
same weighted by measured time, *time* a picture's time over the uncached run's. PSNR has its 95 % interval over the seeds. A cache
is worth it where it is nearer to the uncached picture than fewer steps of equal cost: bold where it is, beyond the interval."""

TRAINED = """\
What `python dev.py zoo routers` trained for the same models, on captions that nothing here measures; `python dev.py bench routers`, with
rivals of equal cost, random routers and Frechet distances in [trained routers, measured](../results/routers.md)."""

BY_SPEEDUP = """\
PSNR in dB against the uncached picture of the same seed, with its 95 % interval, at 20 Euler steps on the zoo's small models: `python
dev.py bench presets`. Other samplers and numbers of steps, and what each *intent* takes there, are in
[intents, measured](../results/presets.md)."""


def pages(record: dict[str, Any]) -> dict[Path, str]:
    """Return every page that is written here, with its text."""
    core = importlib.import_module("cache_core")
    readme = ROOT / "README.md"
    text = _with_block(readme.read_text(encoding="utf-8"), "demo", _measured(record))
    found = {readme: _with_block(text, "quality", readme_block(RESULTS))}
    found |= compatibility.pages()
    measured, intents = presets.read(RESULTS / "presets.json"), core.presets.INTENTS
    found[RESULTS / "presets.md"] = presets.page(measured, intents)
    found[core.presets.TABLE] = json.dumps(list(presets.derive(measured, intents)), indent=1) + "\n"
    found[RESULTS / "corrections.md"] = corrections.page(corrections.read(RESULTS / "corrections.json"))
    studies, trained = read_studies(RESULTS), read_studies(RESULTS, "routers")
    for name in core.POLICIES:
        policy = core.POLICIES[name]
        if policy.__module__.startswith("cache_core."):
            rows = _by_speedup(measured) if name == presets.METHOD else _rows_of(name, studies)
            rows += _trained_rows(name, trained)
            found[ROOT / "docs" / "methods" / f"{name}.md"] = method_page(core, policy, rows)
    for name in core.CORRECTIONS:
        found[ROOT / "docs" / "methods" / f"{name}.md"] = correction_page(
            core, core.CORRECTIONS[name], studies
        )
    return found


def correction_page(core: Any, correction: Any, studies: Sequence[Record]) -> str:
    """Return the page of one correction: its docstring, settings, and memory on top of a method that keeps one snapshot."""
    corrected = {
        level: correction(inner, correction.config_type())
        for level, inner in _by_level(core.POLICIES["fora"]).items()
    }
    memory = f"{_snapshots(corrected)}, or as many as the method in front keeps."
    parts = [*_about(correction), "## Memory", memory, FORESEEN, memory_table(core, corrected)]
    return "\n\n".join([*parts, *_rows_of(correction.name, studies)]) + "\n"


def method_page(core: Any, policy: Any, rows: Sequence[str]) -> str:
    """Return the page of one method: its docstring, settings, memory and measured part `rows`."""
    made = policy(policy.config_type())
    looks = (
        "" if made.indicator is None else " Also what the schedule looks at: the first branch's, of one call."
    )
    parts = [
        *_about(policy),
        "## Memory",
        f"{_snapshots(_by_level(policy))}.{looks}",
        FORESEEN,
        memory_table(core, _by_level(policy)),
        *rows,
    ]
    return "\n\n".join(parts) + "\n"


def _by_level(policy: Any) -> dict[str, Any]:
    """Return the method at its defaults, by the name of every level at which it can be set to reuse."""
    choices = [details.choices for item, details in policy.config_type.settings() if item.name == "level"]
    if not choices:
        made = policy(policy.config_type())
        return {made.level.value: made}
    return {level: policy(policy.config_type(level=level)) for level in choices[0]}


def _snapshots(by_level: dict[str, Any]) -> str:
    count = next(iter(by_level.values())).memory
    return f"{count} snapshot{'s' if count > 1 else ''} of every site and branch, until the run ends"


def _by_speedup(measured: Sequence[presets.Measured]) -> list[str]:
    """Return the measured part of Step List's page."""
    shown = [one for one in measured if (one.sampler, one.steps) == ("euler", 20)]
    return ["## Measured", BY_SPEEDUP, presets.table(shown)]


def _rows_of(name: str, studies: Sequence[Record]) -> list[str]:
    """Return the measured part of a page: the method's rows and fewer steps of about the same cost, by family."""
    block = method_block(studies, name)
    if not block:
        return ["## Measured", "Nothing yet: `python dev.py bench methods` measures it."]
    return ["## Measured", EXPLAINED, block]


def _trained_rows(name: str, studies: Sequence[Record]) -> list[str]:
    """Return the rows of what was trained for a method, and fewer steps of about the same cost; none where nothing was."""
    block = method_block(studies, name)
    return ["## Measured, trained", TRAINED, block] if block else []


def _about(policy: Any) -> list[str]:
    module = inspect.getmodule(policy)
    settings = "\n".join(_setting(item, details) for item, details in policy.config_type.settings())
    return [
        f"# {policy.title}",
        inspect.cleandoc((module.__doc__ if module else None) or ""),
        f"Source: {policy.source}. Code: `cache_core/policies/{policy.name}.py`.",
        "## Settings",
        f"| setting | default | meaning |\n|---|---|---|\n{settings}",
    ]


def _setting(item: Any, details: Any) -> str:
    return f"| `{item.name}` | `{item.default}` | {details.help} |"


def _measured(record: dict[str, Any]) -> str:
    """Return the table of a record, and under it what it was measured on."""
    head = "| | seconds | measured | ideal | refresh ratio | cost ratio | PSNR dB | relative error |"
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|--:|", *map(_line, record["rows"])]
    return "\n".join(lines) + (
        f"\n\nWritten by `{record['command']}` on {record['machine']}, Python {record['python']}, torch {record['torch']}: "
        f"the shipped tiny Flux, 20 Euler steps, cfg 4, median of {record['pairs']} pairs. Seconds are the sampler node's; "
        "PSNR and relative error\nare against the uncached picture of the same seed. *Fewer steps* takes as long as the row "
        "above it."
    )


def _line(row: dict[str, Any]) -> str:
    psnr = "identical" if row["psnr"] is None else f"{row['psnr']:.1f} ± {row['psnr_spread']:.1f}"
    return (
        f"| {row['name']} | {row['seconds']:.2f} | {row['measured']:.2f}x | {row['ideal']:.2f}x | {row['refresh']:.2f} | "
        f"{row['cost']:.2f} | {psnr} | {row['relative_error']:.3f} |"
    )


def _with_block(text: str, name: str, block: str) -> str:
    """Return `text` with what stands between `<!-- name -->` and `<!-- /name -->` replaced.

    Raises:
        ValueError: If the marks are not there.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page lacks the marks '<!-- {name} -->' and '<!-- /{name} -->'")
    return pattern.sub(lambda found: f"{found[1]}{block}\n{found[2]}", text)


def main() -> None:
    """Write every page."""
    # The root's `nodes/` must not hide ComfyUI's nodes.py, so the root is on the path for this program only.
    sys.path.insert(0, str(ROOT))
    for path, text in pages(json.loads(RECORD.read_text(encoding="utf-8"))).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

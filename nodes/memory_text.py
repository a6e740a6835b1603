"""What a run held, as text."""

from __future__ import annotations

from ..cache_core import Footprint, MemoryReport, Residence, RunReport

MEGABYTE = 1024 * 1024


def megabytes(num_bytes: int) -> str:
    """Return a number of bytes as users read it."""
    return f"{num_bytes / MEGABYTE:.1f} MB"


def memory_facts(report: RunReport) -> list[tuple[str, str]]:
    """Return what was held, and where there is any, what was given up and what was not finite."""
    memory = report.memory
    found = [("memory", f"{_peak(report)}, {memory.end_bytes} bytes left")]
    if memory.given_up:
        found.append(("given up", given_up(report)))
    if memory.num_non_finite:
        found.append(("not finite", _non_finite(memory)))
    return found


def given_up(report: RunReport) -> str:
    """Return how many sites a budget left without a place."""
    count, budget = len(report.memory.given_up), megabytes(report.memory.budget or 0)
    return f"{count} of {len(report.sites)} sites always computed, for the budget of {budget}"


def non_finite_warning(memory: MemoryReport) -> str:
    """Return a warning about features that are not finite, or an empty text."""
    if not memory.num_non_finite:
        return ""
    return (
        f"Feature Cache: {_non_finite(memory)}. The network itself made them; where they were reused, they were reused as "
        "they are. Try another weight or compute type (bf16 in place of fp16), or without the LoRA or ControlNet "
        "that was added last."
    )


def budget_warning(foreseen: Footprint, residence: Residence) -> str:
    """Return a warning, before sampling, about a budget in which not one feature fits; else an empty text."""
    if residence.budget is None or residence.budget >= foreseen.least_bytes:
        return ""
    return (
        f"Feature Cache: 'memory_budget_mb' allows {megabytes(residence.budget)}, but holding anything takes about "
        f"{megabytes(foreseen.least_bytes)}, and everything {megabytes(foreseen.wanted_bytes)}: nothing will be reused. "
        "Raise it, choose level 'stack' or a smaller 'cache_dtype', or set it to 0 with 'cache_device' at 'cpu'."
    )


def _peak(report: RunReport) -> str:
    peaks = report.memory.peak_by_device
    where = ", ".join(f"{megabytes(num_bytes)} on {device}" for device, num_bytes in peaks)
    foreseen = f", {megabytes(report.foreseen_bytes)} foreseen" if report.foreseen_bytes else ""
    return f"{where or megabytes(0)} at the peak{foreseen}"


def _non_finite(memory: MemoryReport) -> str:
    plural = "features" if memory.num_non_finite > 1 else "feature"
    return f"{memory.num_non_finite} {plural} with infinite or undefined numbers, first {memory.first_non_finite}"

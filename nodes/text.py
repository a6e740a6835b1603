"""Reports as text: one line for the log and the sampler, a table for the report node."""

from __future__ import annotations

from ..cache_core import CallReport, RunReport
from .memory_text import megabytes, memory_facts
from .samplers import drift_warning


def one_line(report: RunReport) -> str:
    """Return the run in one line."""
    return (
        f"{report.method}: computed {report.num_computed} of {report.num_computed + report.num_reused} features "
        f"({report.refresh_ratio:.0%}) in {len(report.calls)} calls, {report.call_seconds:.2f} s, "
        f"measured {report.measured_speedup:.2f}x, ideal {report.ideal_speedup:.2f}x, "
        f"peak {megabytes(report.peak_bytes)}"
    )


def so_far(computed: int, reused: int) -> str:
    """Return what has been done until now, for the node that is sampling."""
    total = computed + reused
    return f"Feature Cache: {reused} of {total} features reused ({reused / total:.0%})" if total else ""


def numbers(report: RunReport) -> dict[str, float]:
    """Return the figures that programs read, by name."""
    return {
        "num_calls": len(report.calls),
        "num_computed": report.num_computed,
        "num_reused": report.num_reused,
        "refresh_ratio": report.refresh_ratio,
        "cost_ratio": report.cost_ratio,
        "measured_speedup": report.measured_speedup,
        "ideal_speedup": report.ideal_speedup,
        "call_seconds": report.call_seconds,
        "seconds": report.seconds,
        "peak_bytes": report.peak_bytes,
        "end_bytes": report.end_bytes,
        "foreseen_bytes": report.foreseen_bytes,
        "num_given_up": len(report.memory.given_up),
        "num_non_finite": report.memory.num_non_finite,
    }


def facts(report: RunReport) -> list[tuple[str, str]]:
    """Return the figures of a run as pairs of name and value."""
    total = report.num_computed + report.num_reused
    return [
        ("method", f"{report.method} ({report.settings})"),
        ("model", f"{report.family}, {len(report.sites)} sites at level {report.level}"),
        ("sampling", f"{report.sampler}, {report.num_steps} steps, {len(report.calls)} calls"),
        ("computed", f"{report.num_computed} of {total} features, refresh ratio {report.refresh_ratio:.3f}"),
        ("cost ratio", f"{report.cost_ratio:.3f} of the block time"),
        (
            "speedup",
            f"{report.measured_speedup:.2f}x measured, {report.ideal_speedup:.2f}x ideal (model calls)",
        ),
        ("seconds", f"{report.call_seconds:.2f} in calls, {report.seconds:.2f} in the whole run"),
        *memory_facts(report),
    ]


def table(report: RunReport) -> str:
    """Return the figures of a run, then one row per call."""
    lines = [f"{name:<11}{value}" for name, value in facts(report)]
    notes = [*report.notes, *filter(None, [drift_warning(report.sampler) if report.num_reused else ""])]
    lines += ["", *notes] if notes else []
    is_dynamic = any(call.observed is not None for call in report.calls)
    head = f"{'call':>4} {'step':>4} {'sigma':>7} {'seconds':>8} {'computed':>8} {'reused':>6}"
    lines += ["", f"{head} {'change':>7}" if is_dynamic else head]
    rows = [f"{_row(call)} {_change(call)}" if is_dynamic else _row(call) for call in report.calls]
    return "\n".join([*lines, *rows])


def _row(call: CallReport) -> str:
    return (
        f"{call.index:>4} {call.step:>4} {call.sigma:>7.4f} {call.seconds:>8.4f} "
        f"{sum(call.computed):>8} {sum(call.reused):>6}"
    )


def _change(call: CallReport) -> str:
    """Return the change of the indicator since the last call, as the threshold of a dynamic schedule sees it."""
    return f"{'-' if call.observed is None else f'{call.observed:.4f}':>7}"

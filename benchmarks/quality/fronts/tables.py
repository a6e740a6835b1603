"""Tables of verdicts and rows, in Markdown; they need nothing but the lines of the two files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..tables import FAMILIES, table
from .names import SPEEDUPS
from .sheets import Line, number
from .verdicts import GOALS, KINDS, Rival, Verdict

NAMES = {
    "euler": "Euler",
    "dpmpp_2m": "DPM++ 2M",
    "heun": "Heun",
    "euler_ancestral": "Euler ancestral",
}


def headline(found: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts at 20 Euler steps."""
    return [one for one in found if one.setting[1:3] == ("euler", "20")]


def headline_table(found: Sequence[Verdict], axis: str = "time") -> str:
    """The verdicts at 20 Euler steps."""
    return verdict_table(headline(found), axis)


def verdict_table(found: Sequence[Verdict], axis: str = "time") -> str:
    """A row per setting and speedup: ours and the best of every kind of rival at equal `axis`, "time" or "cost"."""
    head = ("", axis, "Step List, dB", *(f"{name}, dB" for name in KINDS.values()))
    lines = [
        (
            f"{_name(one)}, {one.speedup:g} times",
            f"{one.at:.2f}",
            f"{one.psnr:.1f}",
            *(_rival(one.rivals.get(kind), is_named=kind in ("peer", "method")) for kind in KINDS),
        )
        for one in found
    ]
    return table(head, lines)


def _name(verdict: Verdict) -> str:
    """A setting in words; 20 Euler steps go without saying."""
    family, sampler, steps, cfg = verdict.setting
    how = "" if (sampler, steps) == ("euler", "20") else f", {NAMES[sampler]}, {steps} steps"
    return f"{FAMILIES[family]}{how}, cfg {float(cfg):g}"


def readme_table(found: Sequence[Verdict], speedup: float = 2.0) -> str:
    """The headline's rows at one speedup."""
    return headline_table([one for one in found if one.speedup == speedup])


def count_table(found: Sequence[Verdict]) -> str:
    """By speedup in how many settings ours is above each kind of rival, beyond the interval, and below."""
    head = ("", *KINDS.values(), "all of them")
    lines = []
    for speedup in SPEEDUPS:
        own = [one for one in found if one.speedup == speedup]
        cells = [_counts([one.rivals[kind] for one in own if kind in one.rivals]) for kind in KINDS]
        lines.append((f"{speedup:g} times", *cells, _counts([one.best for one in own if one.best])))
    return table(head, lines)


def _counts(rivals: Sequence[Rival]) -> str:
    above = sum(one.is_beaten for one in rivals)
    below = sum(one.is_winner for one in rivals)
    return f"{above} above, {below} below, of {len(rivals)}" if rivals else "-"


def winner_table(found: Sequence[Verdict], speedup: float) -> str:
    """A row per family, sampler and guidance, a column per number of steps: ours against the best of all rivals."""
    own = [one for one in found if one.speedup == speedup]
    steps = sorted({int(one.setting[2]) for one in own})
    places = dict.fromkeys((one.setting[0], one.setting[1], one.setting[3]) for one in own)
    by_setting = {one.setting: one for one in own}
    lines = []
    for family, sampler, cfg in places:
        cells = [_winner(by_setting.get((family, sampler, str(count), cfg))) for count in steps]
        lines.append((f"{FAMILIES[family]}, {NAMES[sampler]}, cfg {float(cfg):g}", *cells))
    return table(("", *(f"{count} steps" for count in steps)), lines)


def _winner(verdict: Verdict | None) -> str:
    if verdict is None or verdict.best is None:
        return "-"
    best = verdict.best
    if best.is_beaten:
        return f"**ours, {best.gain:+.1f} dB**"
    if best.is_winner:
        return f"{best.title}, {-best.gain:+.1f} dB"
    return f"even: {best.gain:+.1f} dB ({best.low:+.1f} to {best.high:+.1f})"


def goal_table(found: Sequence[Verdict]) -> str:
    """What was aimed at, and where it was met."""
    lines = []
    for goal in GOALS:
        judged = [(one, goal.is_met(one)) for one in headline(found)]
        met = [_place(one) for one, is_met in judged if is_met]
        missed = [_place(one, goal.kind) for one, is_met in judged if is_met is False]
        lines.append((goal.text, ", ".join(met) or "-", ", ".join(missed) or "-"))
    return table(("20 Euler steps", "met", "missed"), lines)


def _place(verdict: Verdict, kind: str = "") -> str:
    gain = f" ({verdict.rivals[kind].gain:+.1f} dB)" if kind else ""
    return f"{FAMILIES[verdict.setting[0]]} cfg {float(verdict.setting[3]):g}{gain}"


def frechet_table(distances: Sequence[Line]) -> str:
    """Frechet distances to the data, and what of the uncached run's they add."""
    head = ("20 Euler steps, cfg 4", "Frechet distance to the data", "uncached", "more than uncached")
    return table(head, [_distance(line) for line in distances])


def _distance(line: Line) -> tuple[str, ...]:
    plain = float(line["uncached"])
    excess, low, high = (100 * float(line[f"excess{end}"]) / plain for end in ("", "_low", "_high"))
    name = f"{FAMILIES[line['family']]}: {line['title']}, {line['label']}"
    return (name, _one(line, "distance", 4), f"{plain:.4f}", f"{excess:+.1f} % ({low:+.1f} to {high:+.1f})")


def full_table(rows: Sequence[Line]) -> str:
    """All rows of one setting with all measures."""
    head = ("", "setting", "refresh", "cost", "time", "PSNR dB", "perceptual", "latent error")
    return table(head, [_full(line) for line in rows])


def _full(line: Line) -> tuple[str, ...]:
    ratios = (_one(line, "refresh", 3), _one(line, "cost", 3), _one(line, "time", 2))
    measures = (_spell(line, "psnr", 1), _spell(line, "perceptual", 4), _spell(line, "latent_error", 3))
    is_list = line["front"] == "searched_steps"
    knob = "" if is_list or not line["knob"] else f" ({line['knob']})"
    return (line["title"], f"{line['label']}{knob}", *ratios, *measures)


def _one(line: Line, name: str, digits: int) -> str:
    value = number(line, name)
    return "-" if value is None else f"{value:.{digits}f}"


def _spell(line: Line, name: str, digits: int) -> str:
    if number(line, name) is None:
        return "identical"
    value, low, high = (_one(line, f"{name}{end}", digits) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def _rival(rival: Rival | None, *, is_named: bool) -> str:
    if rival is None:
        return "-"
    name = f"{_short(rival.title)}: " if is_named else ""
    gain = f"{rival.gain:+.1f}"
    return f"{name}{rival.psnr:.1f} ({f'**{gain}**' if rival.is_beaten else gain})"


def _short(title: str) -> str:
    """A title without what stands in brackets."""
    return title.split(" (")[0]

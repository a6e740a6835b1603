"""Samples every cache beside uncached pictures, round after round; what was sampled is kept, so that a later start goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .losses import Losses, idle, losses
from .presets import Preset
from .sampling import Bench, Sampled

BESIDE = 3
"""Caches between two uncached pictures."""
WARM_STEPS = 4
LOSSES, THRESHOLDS, UNCACHED = "losses", "thresholds", "uncached"


@dataclass(frozen=True, slots=True)
class Pair:
    """A cached picture, and the mean of the uncached ones before and after it."""

    plain: Sampled
    cached: Sampled


@dataclass(frozen=True)
class Records:
    """What was measured of one network, without torch.compile or with it: files in a folder."""

    folder: Path

    def read(self, name: str) -> dict[str, Any]:
        """Return a record; empty if there is none."""
        path = self._path(name)
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    def add(self, name: str, more: Mapping[str, Any]) -> None:
        """Add to a record; the file is written whole or not at all."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(self.read(name) | dict(more), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    def pairs(self, preset: Preset) -> list[Pair]:
        """Return the pairs of a cache, round by round."""
        rounds = [self.read(path.stem) for path in sorted(self.folder.glob("round_*.json"))]
        found = [record[preset.key] for record in rounds if preset.key in record]
        return [Pair(*(Sampled(**one[part]) for part in ("plain", "cached"))) for one in found]

    def losses(self, preset: Preset) -> Losses | None:
        """Return where the time of a cache goes, if that was measured."""
        found = self.read(LOSSES).get(preset.key)
        return None if found is None else Losses(**found)

    def plain_idle(self) -> float | None:
        """Return the idle share of the uncached picture, if that was measured."""
        found: float | None = self.read(LOSSES).get(UNCACHED)
        return found

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


class Rounds:
    """Measures one network; caches are made, and warmed up, when they are first needed."""

    def __init__(self, bench: Bench, records: Records, is_over: Callable[[], bool] = lambda: False) -> None:
        """Measure into `records` until the end, or until the time `is_over`."""
        self._bench, self._records, self._is_over = bench, records, is_over
        self._models: dict[str, Any] = {}

    def measure(self, presets: Sequence[Preset], num_rounds: int) -> None:
        """Sample what lacks in the rounds; then, of networks that are not compiled, where the time goes."""
        for number in range(num_rounds):
            self._round(f"round_{number:03d}", presets if number % 2 else presets[::-1])
        if not self._bench.is_compiled:
            self._losses(presets)

    def _round(self, name: str, presets: Sequence[Preset]) -> None:
        known = self._records.read(name)
        missing = [preset for preset in presets if preset.key not in known]
        before: Sampled | None = None
        for group in _groups(missing):
            if self._is_over():
                return
            models = [self._model(preset) for preset in group]
            before = before or self._bench.sample(self._bench.plain)
            cached = [self._bench.sample(model) for model in models]
            after = self._bench.sample(self._bench.plain)
            around = _mean(before, after)
            pairs = zip(group, (Pair(around, one) for one in cached), strict=True)
            self._records.add(name, {preset.key: asdict(pair) for preset, pair in pairs})
            before = after

    def _losses(self, presets: Sequence[Preset]) -> None:
        known = self._records.read(LOSSES)
        for preset in presets:
            if self._is_over():
                return
            if preset.key not in known:
                found = losses(self._bench, self._model(preset))
                self._records.add(LOSSES, {preset.key: asdict(found)})
        if UNCACHED not in known and not self._is_over():
            self._records.add(LOSSES, {UNCACHED: idle(self._bench, self._bench.plain)})

    def _model(self, preset: Preset) -> Any:
        if not self._models:
            self._bench.sample(self._bench.plain, WARM_STEPS)
        if preset.key not in self._models:
            found = {} if preset.share is None else {"threshold": self._threshold(preset)}
            self._models[preset.key] = self._bench.carrying(preset, **found)
            self._bench.sample(self._models[preset.key], WARM_STEPS)
        return self._models[preset.key]

    def _threshold(self, preset: Preset) -> float:
        if preset.key not in self._records.read(THRESHOLDS):
            self._records.add(THRESHOLDS, {preset.key: self._bench.threshold(preset)})
        return float(self._records.read(THRESHOLDS)[preset.key])


def num_pictures(num_presets: int, num_rounds: int) -> float:
    """Return about how many uncached pictures take as long as a network: a cached one takes about half of one."""
    groups = -(-num_presets // BESIDE)
    return num_rounds * (num_presets / 2 + groups + 1) + num_presets * 1.5


def _groups(presets: Sequence[Preset]) -> Iterator[Sequence[Preset]]:
    for start in range(0, len(presets), BESIDE):
        yield presets[start : start + BESIDE]


def _mean(before: Sampled, after: Sampled) -> Sampled:
    return Sampled(
        seconds=(before.seconds + after.seconds) / 2,
        calls=(before.calls + after.calls) / 2,
        peak_bytes=max(before.peak_bytes, after.peak_bytes),
    )

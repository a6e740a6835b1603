"""MagCache's ratios, measured on the model at hand: a calibration that needs no place in the nodes' menu.

Source: arXiv:2506.09045, section 3.1: the mean over tokens of the residual's norm over that of the step before.
"""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import Any

import torch

from ..engine import Engine


def probe(engine: Engine) -> Any:
    """Return a probe of the extension's contract that gathers the ratios of all runs."""
    core = engine.core

    class Magnitudes(core.Probe):  # type: ignore[misc, name-defined]
        """Mean ratio of the norms of the residual over all blocks, step by step."""

        name, title, config_type = "magnitudes", "MagCache's ratios", core.Config

        def __init__(self) -> None:
            super().__init__(core.Config())
            self._seen: dict[tuple[int, int], list[float]] = defaultdict(list)

        @property
        def level(self) -> Any:
            """The residual over all blocks."""
            return core.Level.STACK

        def see(self, sample: Any) -> None:
            """Keep the ratio to the call before; those of a step with several calls are multiplied later."""
            if sample.previous is not None:
                now, then = (
                    torch.linalg.vector_norm(one[0], dim=-1) for one in (sample.feature, sample.previous)
                )
                self._seen[sample.call.step, sample.call.index].append(float((now / then).mean()))

        def findings(self, subject: Any) -> Any:
            """Return the ratios as an artefact, 1 in step 0."""
            ratios = _by_step(self._seen, subject.sampling.num_steps)
            artefact = core.Artefact(
                kind=core.Kind.RATIOS,
                method="magcache",
                architecture=subject.architecture,
                sampling=subject.sampling,
                tensors={"ratios": torch.tensor(ratios)},
                made=subject.made,
            )
            return core.Findings(
                artefact=artefact, charts=(), text=f"ratios {min(ratios):.3f} to {max(ratios):.3f}"
            )

    return Magnitudes()


def _by_step(seen: dict[tuple[int, int], list[float]], num_steps: int) -> list[float]:
    means: dict[int, list[float]] = defaultdict(list)
    for (step, _), ratios in seen.items():
        means[step].append(sum(ratios) / len(ratios))
    return [1.0, *(prod(means[step]) for step in range(1, num_steps))]

"""Error-Optimized Cache: what is reused is corrected by how much it has differed, on average, in uncached runs.

Qiu et al. 2025, "Error-Optimized Cache" (ACM MM 2025, arXiv:2501.19243). On top of any method. Calibration
(`calibration/prior.py`) records the mean difference of every site's feature from step to step; summed up from the step
a that is reused to the step b it is needed in, that is E, the error that reuse makes on average. With F the feature,

    E = mean over uncached runs of (F_(a+1) - F_a) + ... + (F_b - F_(b-1)) = mean of F_b - F_a.

Judgment. A site is corrected where two things hold, else it is reused as it is:

1. magnitude: its relative change between the two steps, added up step by step, is at least `magnitude`;
2. trend: E points where the average feature was going when what is reused was computed: the cosine of both is at
   least `trend`. Where nothing came before, nothing speaks against it.

The paper asks for both. The default `magnitude` of 0 lets the first always hold, and leaves the judgment to the trend: the paper's
value could not be had, how much a feature changes depends on network, level and number of steps, so that any other value would
turn the correction off somewhere unnoticed, and what has changed little is corrected by little.

Correction, with f what the method would use:

    additive:        f + theta * E
    multiplicative:  f * (1 + theta * E), elementwise

Of the paper only the abstract and a summary of its equations could be had. From there: the difference as prior, a
judgment by magnitude and by a second criterion, and the multiplicative form. Inferred: the second criterion as the
cosine (its threshold 0.01 is a constant that stands unused in the same authors' later code; that code leaves out steps in which
the direction turns back), E from summed differences, so that one prior serves every schedule, and the
additive form. That is the default: E has the unit of f, so f * E has not, and theta 1 then means the whole average error.

E belongs to a network, number of steps, sampler and guidance, and to the prompt or the negative prompt, as in the paper:
guidance multiplies what differs between the two.

It helps where changes have much in common over prompts: most at level `stack`, with little or no guidance. At level `module` the gates,
which are computed in every step, do a part of its work; strong guidance multiplies what prompts do not share
(docs/results/corrections.md; docs/decisions.md, 20).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from torch import Tensor
from torch.nn import functional

from ..artefact import Artefact, Kind
from ..errors import ArtefactError
from ..mapping import check_run, nearest_row
from ..ops.tokens import spread
from ..overlay import CORRECTIONS, Overlay
from ..policy import Config, Policy, setting
from ..types import Call, History, Run, Target


@dataclass(frozen=True, kw_only=True)
class ErrorOptimizedConfig(Config):
    """Settings of Error-Optimized Cache."""

    prior: Artefact | None = setting(
        None,
        "The prior: how features differ from step to step on average, from the node Feature Cache Calibrate. Without one "
        "nothing is corrected.",
        kinds=(Kind.PRIOR,),
    )
    theta: float = setting(
        1.0,
        "How much of the average error is taken away. 0 does nothing (the picture is bit-identical to the method without this "
        "node); 1 takes all of it. With the form 'multiplicative' begin at 0.01.",
        minimum=0.0,
        maximum=4.0,
    )
    magnitude: float = setting(
        0.0,
        "Correct only what has changed, relative to its size, by at least this since it was computed. 0 corrects everything; "
        "raising it corrects less.",
        minimum=0.0,
        maximum=100.0,
    )
    trend: float = setting(
        0.01,
        "Correct only where the average error points the same way as the change before it: the least cosine of the two. -1 "
        "corrects everywhere; raising it corrects less.",
        minimum=-1.0,
        maximum=1.0,
        advanced=True,
    )
    form: Literal["additive", "multiplicative"] = setting(
        "additive",
        "How the average error is applied: added to what is reused, or multiplied with it as the paper's equation is reported.",
        choices=("additive", "multiplicative"),
        advanced=True,
    )


@CORRECTIONS.register
class ErrorOptimized(Overlay):
    """The average error of reuse, taken away where it is large and keeps its direction."""

    name = "error_optimized"
    title = "Error-Optimized Cache"
    source = "arXiv:2501.19243"
    config_type = ErrorOptimizedConfig
    strictest: ClassVar[Mapping[str, Any]] = {"theta": 0.0}

    def __init__(self, inner: Policy, config: Config) -> None:
        """Wrap `inner`.

        Raises:
            ArtefactError: If the prior is of other sites than those that `inner` reuses.
        """
        super().__init__(inner, config)
        prior = self._settings.prior
        if prior is not None:
            _check(prior, inner)
            self._columns = {site: column for column, site in enumerate(prior.architecture.sites)}

    def check_run(self, run: Run) -> tuple[str, ...]:
        """Return what the inner policy has to say, and how the prior's steps and the run's differ."""
        prior = self._settings.prior
        return (*super().check_run(run), *(() if prior is None else check_run(prior, run)))

    def estimate(self, history: History, target: Target) -> Tensor:
        """Return the inner policy's stand-in, less its average error where that is to be corrected."""
        reused = super().estimate(history, target)
        error = self._error(history[-1].call, target)
        if error is None:
            return reused
        correction = self._settings.theta * spread(error, reused)
        return reused + (correction if self._settings.form == "additive" else reused * correction)

    @property
    def _settings(self) -> ErrorOptimizedConfig:
        return cast(ErrorOptimizedConfig, self.config)

    def _error(self, computed: Call, target: Target) -> Tensor | None:
        """Return E (G, D) float32 between the steps of two calls; None where nothing is to be corrected."""
        prior, name = self._settings.prior, f"prior.{target.site}.{target.stream}.{target.role}"
        if prior is None or not self._settings.theta or name not in prior.tensors:
            return None
        first, last = (
            nearest_row(prior.sampling, call.run, call.step, range(prior.num_steps))
            for call in (computed, target.call)
        )
        between = slice(first + 1, last + 1)
        differences = prior.tensors[name]
        error = differences[between].float().sum(0)
        change = float(prior.tensors["profile"][between, self._columns[str(target.site)]].sum())
        is_large = first < last and change >= self._settings.magnitude
        return error if is_large and self._keeps_direction(differences[first].float(), error) else None

    def _keeps_direction(self, before: Tensor, error: Tensor) -> bool:
        """Return whether the cosine of two differences (G, D) reaches `trend`; so it does where one is zero."""
        if not before.any():
            return True
        return (
            float(functional.cosine_similarity(before.flatten(), error.flatten(), dim=0))
            >= self._settings.trend
        )


def _check(prior: Artefact, inner: Policy) -> None:
    """Refuse a prior that would never or wrongly be applied."""
    if prior.method != ErrorOptimized.name or "profile" not in prior.tensors:
        raise ArtefactError(
            f"The artefact {prior} is of {prior.describe()}, expected a prior of Error-Optimized Cache. Make one with the "
            "node Feature Cache Calibrate."
        )
    if prior.architecture.level is not inner.level:
        raise ArtefactError(
            f"The prior {prior} is for level '{prior.architecture.level.value}', the cache it should correct ({inner.label}) reuses "
            f"at level '{inner.level.value}'. Calibrate with that level, or set the cache to the prior's."
        )
    unknown = sorted({name for name in prior.tensors if name != "profile"} - _names(prior))
    if unknown:
        raise ArtefactError(
            f"The prior {prior} holds tensors of no site of its own: {', '.join(unknown[:3])}. Make it again."
        )


def _names(prior: Artefact) -> set[str]:
    return {
        name
        for name in prior.tensors
        if name.startswith("prior.") and name[6:].rsplit(".", 2)[0] in prior.architecture.sites
    }

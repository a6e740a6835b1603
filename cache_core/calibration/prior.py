"""The prior of Error-Optimized Cache: how every feature differs from step to step, on average over uncached runs.

Qiu et al. 2025, "Error-Optimized Cache" (ACM MM 2025, arXiv:2501.19243), and the recording script of the same authors'
later repository, qiujx0520/GOC_ICCV2025. There every token has its own average, over 1000 classes. Prompts of other words have
other tokens and pictures other sizes, and a large model has gigabytes of features; so tokens are averaged in groups of
neighbours, in bfloat16, as many groups as the budget allows. Where not even one group fits, the sites that change least are
left out. Differences and not features are kept: they are small, so that bfloat16 keeps them well, and they add up to the
difference between any two steps. A step with several calls, as Heun's, has the differences of all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, cast

import torch
from torch import Tensor

from ..artefact import Artefact, Kind
from ..chart import HeatMap
from ..errors import CacheError
from ..ops.change import change_ratio
from ..ops.differences import Tally
from ..ops.tokens import as_tokens, group_means, most_groups, turns_back
from ..policy import Config, setting
from ..probe import CALIBRATIONS, Calibration, Findings, Sample, Subject
from ..types import Level

MEGABYTE = 1024 * 1024
DTYPE = torch.bfloat16

Stream = tuple[str, int, int]
"""Site, which of its feature's tensors, and the role of the branch: with the prompt or the negative one."""


@dataclass(frozen=True, kw_only=True)
class PriorConfig(Config):
    """Settings of the prior."""

    level: Literal["module", "block", "stack", "model"] = setting(
        "module",
        "The level at which the cache that is to be corrected reuses: FORA's is 'module' by default, Block Caching's 'block', "
        "TeaCache's 'stack', a router's 'module'.",
        choices=("module", "block", "stack", "model"),
    )
    budget_mb: int = setting(
        64,
        "Most megabytes of the file. More keep more detail of where in the picture features differ.",
        minimum=1,
        maximum=1024,
    )


Tallies = dict[tuple[int, Stream], Tally]
"""By step and stream."""


@CALIBRATIONS.register
class Prior(Calibration):
    """Mean difference of every feature, step by step."""

    name = "prior"
    title = "Error-Optimized Cache's prior"
    config_type = PriorConfig

    def __init__(self, config: Config) -> None:
        """Start with nothing seen."""
        super().__init__(config)
        self._run: Tallies = {}
        self._sums: Tallies = {}
        self._shapes: dict[Stream, tuple[int, int]] = {}
        self._steps: dict[int, int] = {}
        self._num_groups: int | None = None

    @property
    def level(self) -> Level:
        """The level that was set."""
        return Level(self._settings.level)

    def see(self, sample: Sample) -> None:
        """Add the difference of a feature from the last call of its lane."""
        self._steps[sample.call.index] = sample.call.step
        for number, feature in enumerate(sample.feature):
            stream, tokens = (str(sample.site), number, sample.lane.role), as_tokens(feature)
            self._shapes.setdefault(stream, (tokens.shape[1], tokens.shape[2]))
            if sample.previous is not None:
                tally = self._tally(
                    stream, tokens, as_tokens(sample.previous[number]), sample.call.run.num_steps
                )
                _add(self._run, (sample.call.step, stream), tally)

    def close_run(self) -> None:
        """Bring the sums of the run to the CPU and add them to those of the others."""
        for place, tally in self._run.items():
            _add(self._sums, place, tally.to_cpu())
        self._run.clear()

    def findings(self, subject: Subject) -> Findings:
        """Return the prior, a picture of how much features change and where they turn back, and what was left out.

        Raises:
            CacheError: If a site was not seen in every step, or features are infinite or undefined.
        """
        assert subject.sampling.num_steps is not None
        num_steps, sites = subject.sampling.num_steps, subject.architecture.sites
        self._require_all(num_steps)
        means = {stream: self._mean(stream, num_steps) for stream in self._shapes}
        profile = torch.stack([self._change(site, num_steps) for site in sites], dim=1)
        _require_finite([*means.values(), profile])
        kept = self._within_budget(means, profile, sites)
        held = {
            "prior." + ".".join(map(str, stream)): mean.to(DTYPE)
            for stream, mean in means.items()
            if stream[0] in kept
        }
        turns = torch.stack(
            [turns_back([means[s] for s in means if s[0] == site]) for site in sites]
        )  # (S, T)
        explained = fmean(tally.explained for tally in self._sums.values())
        return Findings(
            artefact=Artefact(
                kind=Kind.PRIOR,
                method="error_optimized",
                architecture=subject.architecture,
                sampling=subject.sampling,
                tensors={**held, "profile": profile},
                made={
                    **subject.made,
                    "num_groups": self._num_groups or 1,
                    "num_left_out": len(sites) - len(kept),
                },
                measured={"explained": explained},
            ),
            charts=(_picture(sites, profile, turns),),
            text="\n".join(self._text(held, sites, kept, explained, turns_back(list(means.values())))),
        )

    @property
    def _settings(self) -> PriorConfig:
        return cast(PriorConfig, self.config)

    @property
    def _budget(self) -> int:
        return self._settings.budget_mb * MEGABYTE

    def _tally(self, stream: Stream, now: Tensor, before: Tensor, num_steps: int) -> Tally:
        if self._num_groups is None:
            numbers = self._budget // (num_steps * DTYPE.itemsize)
            self._num_groups = most_groups(list(self._shapes.values()), numbers)
        difference = now.float() - before.float()
        groups = min(self._num_groups, self._shapes[stream][0])
        return Tally(
            difference=group_means(difference, groups).sum(0),
            energy=difference.square().sum() / now.shape[1],
            change=change_ratio((now,), (before,)).sum(),
            count=len(now),
        )

    def _require_all(self, num_steps: int) -> None:
        for step in range(1, num_steps):
            for stream in self._shapes:
                if (step, stream) not in self._sums:
                    raise CacheError(
                        f"The calibration saw no difference of '{stream[0]}' in step {step}: the branches of the prompt could "
                        "not be told apart, or none lasted from one step to the next. Use plain prompts for calibrating."
                    )

    def _calls(self, step: int) -> int:
        return list(self._steps.values()).count(step)

    def _mean(self, stream: Stream, num_steps: int) -> Tensor:
        """Return (T, G, D): the mean difference of a call, times the calls of the step; zero in step 0."""
        rows = [self._sums[step, stream].mean * self._calls(step) for step in range(1, num_steps)]
        return torch.stack([torch.zeros_like(rows[0]), *rows])

    def _change(self, site: str, num_steps: int) -> Tensor:
        """Return (T,): the mean relative change of a site's streams; zero in step 0."""
        streams = [stream for stream in self._shapes if stream[0] == site]
        rows = [torch.tensor(0.0)]
        for step in range(1, num_steps):
            tallies = [self._sums[step, stream] for stream in streams]
            rows.append(torch.stack([t.change / t.count * self._calls(step) for t in tallies]).mean())
        return torch.stack(rows)

    def _within_budget(
        self, means: Mapping[Stream, Tensor], profile: Tensor, sites: Sequence[str]
    ) -> set[str]:
        """Return the sites that fit, those that change most first."""
        sizes: dict[str, int] = defaultdict(int)
        for (site, *_), mean in means.items():
            sizes[site] += mean.numel() * DTYPE.itemsize
        kept, left = set(), self._budget
        for column in profile.sum(0).argsort(descending=True).tolist():
            if sizes[sites[column]] <= left:
                kept.add(sites[column])
                left -= sizes[sites[column]]
        return kept

    def _text(
        self,
        held: Mapping[str, Tensor],
        sites: Sequence[str],
        kept: set[str],
        explained: float,
        turns: Tensor,
    ) -> list[str]:
        most = max(tokens for tokens, _ in self._shapes.values())
        size = sum(tensor.numel() * DTYPE.itemsize for tensor in held.values()) / MEGABYTE
        back = [str(step) for step, turned in enumerate(turns.tolist()) if turned]
        left_out = [site for site in sites if site not in kept]
        return [
            f"{size:.1f} of at most {self._settings.budget_mb} MB: {self._num_groups} groups of the up to {most} tokens of a feature",
            f"left out for the budget: {', '.join(left_out) or 'no site'}",
            f"the mean holds {explained:.0%} of the squared differences: what is not in the mean cannot be taken away",
            f"features turn back in steps: {', '.join(back) or 'none'}",
        ]


def _add(tallies: Tallies, place: tuple[int, Stream], tally: Tally) -> None:
    tallies[place] = tallies[place] + tally if place in tallies else tally


def _require_finite(tensors: Sequence[Tensor]) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise CacheError(
            "The calibration met features that are infinite or undefined, so their differences mean nothing. Look at the "
            "pictures that this MODEL makes uncached; try another data type or sampler."
        )


def _picture(sites: Sequence[str], profile: Tensor, turns: Tensor) -> HeatMap:
    return HeatMap(
        title="Relative change of each feature per step",
        rows=sites,
        values=profile.T,
        marks=turns,
        legend="turns back",
    )

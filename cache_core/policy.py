"""The contract of a caching method: a frozen configuration, a plan per call, and an estimate from history."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Literal

from torch import Tensor

from .artefact import Artefact, Kind
from .errors import ConfigError
from .ops.indicators import relative_l1
from .registry import Registry
from .types import Action, Call, History, Indicator, Level, Observation, Reading, Run, Site, Target

POLICIES: Registry[Policy] = Registry("method")

Since = Literal["last call", "last computed call"]
"""Which earlier call a dynamic schedule compares with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a user is told about one field of a configuration, and its bounds."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    advanced: bool = False
    kinds: tuple[Kind, ...] = ()
    """Of a field that holds an artefact: the kinds it may be of."""
    is_optional: bool = False
    """Of a field that holds an artefact: whether the method does as well without one."""
    form: tuple[str, str] | None = None
    """Of a text: the regular expression that it matches, and that in words."""

    def complaint(self, name: str, value: object) -> str | None:
        """Return why `value` is not allowed for the field `name`, or None if it is."""
        if self.kinds:
            return self._misplaced(name, value)
        if self.form is not None:
            return self._malformed(name, value, *self.form)
        if self.choices:
            listed = ", ".join(f"'{choice}'" for choice in self.choices)
            return None if value in self.choices else f"'{name}' is '{value}', expected one of {listed}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"'{name}' is {value!r}, expected a number"
        if self.minimum is not None and value < self.minimum:
            return f"'{name}' is {value}, expected at least {self.minimum}: raise it"
        if self.maximum is not None and value > self.maximum:
            return f"'{name}' is {value}, expected at most {self.maximum}: lower it"
        return None

    def _malformed(self, name: str, value: object, pattern: str, words: str) -> str | None:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return None
        return f"'{name}' is {value!r}, expected {words}"

    def _misplaced(self, name: str, value: object) -> str | None:
        if value is None or (isinstance(value, Artefact) and value.kind in self.kinds):
            return None
        listed = " or ".join(f"'{kind.value}'" for kind in self.kinds)
        return f"'{name}' is {value}, expected an artefact of kind {listed}"


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    advanced: bool = False,
    kinds: tuple[Kind, ...] = (),
    is_optional: bool = False,
    form: tuple[str, str] | None = None,
) -> Any:
    """Return a dataclass field that carries its own bounds and help text."""
    details = Setting(
        help=help,
        minimum=minimum,
        maximum=maximum,
        choices=choices,
        advanced=advanced,
        kinds=kinds,
        is_optional=is_optional,
        form=form,
    )
    return field(default=default, metadata={"setting": details})


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of a method's configuration. Every field is made with `setting` and checked on creation."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: With all offending fields at once.
        """
        found = [details.complaint(item.name, getattr(self, item.name)) for item, details in self.settings()]
        complaints = [text for text in found if text is not None]
        if complaints:
            raise ConfigError(f"{'; '.join(complaints)}.")

    @classmethod
    def settings(cls) -> list[tuple[Field[Any], Setting]]:
        """Return the fields with their settings, in the order of definition, advanced ones last."""
        found = [(item, item.metadata["setting"]) for item in fields(cls)]
        return sorted(found, key=lambda one: bool(one[1].advanced))

    def describe(self) -> str:
        """Return the fields as `name=value`, for reports and logs."""
        return ", ".join(f"{item.name}={getattr(self, item.name)}" for item, _ in self.settings())


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the session knows when it asks for a plan.

    Attributes:
        sites: The sites of the network at the policy's level, in the order they run.
        trace: What happened in the earlier calls of the run, oldest first.
        observed: What the policy measured of its indicator in this call; None for a policy without indicator.
    """

    sites: tuple[Site, ...]
    trace: tuple[Observation, ...] = ()
    observed: float | None = None


class Policy(ABC):
    """A caching method: which sites to compute in a call, and what stands in for the others.

    A policy holds its frozen configuration and nothing else: scalars of a run live in the session, tensors in
    the store, so one policy object serves any number of runs.

    A static schedule is planned before the call. A dynamic one names an `indicator`: it is planned inside the
    call's first pass, as soon as the first-listed branch shows the indicator and `measure` has compared it with
    an earlier one. A call with nothing to compare computes everything, without asking for a plan.
    """

    name: ClassVar[str]
    """Name in settings, files and reports."""
    title: ClassVar[str]
    """Name as the paper writes it."""
    source: ClassVar[str]
    """Paper and repository the rule was taken from."""
    config_type: ClassVar[type[Config]]
    strictest: ClassVar[Mapping[str, Any]]
    """Settings under which nothing is reused, so that the output is bit-identical to the plain model."""
    loosest: ClassVar[Mapping[str, Any]] = {}
    """Settings under which something is reused on any model, where the defaults may not: of thresholds the highest."""

    def __init__(self, config: Config) -> None:
        """Keep the configuration, which has checked itself."""
        self.config = config

    @property
    @abstractmethod
    def level(self) -> Level:
        """Level of the sites the policy decides about."""

    @property
    def memory(self) -> int:
        """Snapshots per site and lane that `estimate` looks at."""
        return 1

    @property
    def indicator(self) -> Indicator | None:
        """What the schedule looks at inside the network, or None if it is known before the call."""
        return None

    @property
    def compares_with(self) -> Since:
        """Whose indicator `measure` gets as the previous one."""
        return "last call"

    @property
    def label(self) -> str:
        """Name of the method in reports."""
        return self.title

    def describe(self) -> str:
        """Return the settings as text, for reports and logs."""
        return self.config.describe()

    def check_run(self, run: Run) -> tuple[str, ...]:
        """Return what a user should know before `run` begins, such as that a schedule was made for other steps.

        Raises:
            ArtefactError: If the policy means nothing for this run.
        """
        return ()

    def measure(self, current: Reading, previous: Reading) -> Tensor:
        """Return the change () of the indicator from `previous` to `current`: the relative L1 distance.

        Args:
            current: The indicator of this call, of its first-listed branch; lent for reading.
            previous: The same branch's indicator of an earlier call, by `compares_with`.
        """
        return relative_l1(current.value, previous.value)

    @abstractmethod
    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return the action for every site of `evidence` in this call."""

    def estimate(self, history: History, target: Target) -> Tensor:
        """Return a new tensor that stands in for the feature at `target`: the newest one, unless a method says otherwise.

        Args:
            history: One to `memory` snapshots, oldest first; their tensors belong to the store.
            target: The call, site and stream to estimate for.
        """
        return history[-1].value.clone()

"""The contract of a caching method: a frozen configuration, a plan per call, and an estimate from history."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar

from torch import Tensor

from .errors import ConfigError
from .registry import Registry
from .types import Action, Call, History, Level, Site

POLICIES: Registry[Policy] = Registry("method")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a user is told about one field of a configuration, and its bounds."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    advanced: bool = False

    def complaint(self, name: str, value: object) -> str | None:
        """Return why `value` is not allowed for the field `name`, or None if it is."""
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


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    advanced: bool = False,
) -> Any:
    """Return a dataclass field that carries its own bounds and help text."""
    details = Setting(help=help, minimum=minimum, maximum=maximum, choices=choices, advanced=advanced)
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
        """Return the fields with their settings, in the order of definition."""
        return [(item, item.metadata["setting"]) for item in fields(cls)]

    def describe(self) -> str:
        """Return the fields as `name=value`, for reports and logs."""
        return ", ".join(f"{item.name}={getattr(self, item.name)}" for item, _ in self.settings())


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the session knows when it asks for a plan.

    Attributes:
        sites: The sites of the network at the policy's level, in the order they run.
    """

    sites: tuple[Site, ...]


class Policy(ABC):
    """A caching method: which sites to compute in a call, and what stands in for the others.

    A policy holds its frozen configuration and nothing else: scalars of a run live in the session, tensors in
    the store, so one policy object serves any number of runs.
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
    memory: ClassVar[int] = 1
    """Snapshots per site and lane that `estimate` looks at."""

    def __init__(self, config: Config) -> None:
        """Keep the configuration, which has checked itself."""
        self.config = config

    @property
    @abstractmethod
    def level(self) -> Level:
        """Level of the sites the policy decides about."""

    @abstractmethod
    def plan(self, call: Call, evidence: Evidence) -> Mapping[Site, Action]:
        """Return the action for every site of `evidence` in this call."""

    @abstractmethod
    def estimate(self, history: History, call: Call) -> Tensor:
        """Return a new tensor that stands in for the feature at `call`.

        Args:
            history: One to `memory` snapshots, oldest first; their tensors belong to the store.
            call: The call to estimate for.
        """

"""The two registries, of methods and of model families, and their discovery.

A new method or family is one file in `policies/` or `adapters/`: importing its package finds every file in it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from .errors import CacheError


class Named(Protocol):
    """A class that carries the name it is registered under."""

    name: ClassVar[str]


T = TypeVar("T", bound=Named)
C = TypeVar("C", bound=type[Any])


class Registry(Generic[T]):
    """Classes by name, in the order they were registered."""

    def __init__(self, kind: str) -> None:
        """Create an empty registry; `kind` is the word used in its errors."""
        self._kind = kind
        self._entries: dict[str, type[T]] = {}

    def register(self, entry: C) -> C:
        """Register a class under its `name`; used as a decorator.

        Raises:
            CacheError: If the name is taken.
        """
        if entry.name in self._entries:
            raise CacheError(f"The {self._kind} '{entry.name}' is registered twice; names must be unique.")
        self._entries[entry.name] = entry
        return entry

    def __getitem__(self, name: str) -> type[T]:
        """Return the class called `name`.

        Raises:
            CacheError: If there is none; the text lists those there are.
        """
        if name not in self._entries:
            raise CacheError(
                f"Unknown {self._kind} '{name}'. Choose one of: {', '.join(sorted(self._entries))}."
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in alphabetical order so that discovery order does not show."""
        return iter(sorted(self._entries))

    def values(self) -> list[type[T]]:
        """Return the classes, in the order of their names."""
        return [self._entries[name] for name in self]


def import_siblings(package: str, path: Sequence[str]) -> None:
    """Import every module of `package`, whose folders are `path`, so that each can register itself."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")

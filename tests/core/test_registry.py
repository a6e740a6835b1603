from __future__ import annotations

import pytest

from cache_core import ADAPTERS, POLICIES, CacheError
from cache_core.registry import Registry


class _Named:
    name = "one"


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(CacheError, match=r"Unknown method 'forra'. Choose one of: .*fora"):
        POLICIES["forra"]


def test_names_are_unique() -> None:
    registry: Registry[_Named] = Registry("thing")
    registry.register(_Named)
    with pytest.raises(CacheError, match="'one' is registered twice"):
        registry.register(_Named)


def test_every_file_is_discovered() -> None:
    assert "fora" in list(POLICIES)
    assert "flux" in list(ADAPTERS)

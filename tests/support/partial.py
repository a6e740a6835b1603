"""A method for tests that reuses only some parts of every block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def some_parts(core: Any, parts: set[str], full: set[int]) -> Any:
    """Return a policy of `core` that reuses `parts` at level MODULE in every call that is not in `full`."""
    fora = core.POLICIES["fora"]

    class SomeParts(fora):  # type: ignore[misc,valid-type]
        def plan(self, call: Any, evidence: Any) -> Mapping[Any, Any]:
            reuse = {site for site in evidence.sites if site.part in parts and call.index not in full}
            return {s: core.Action.REUSE if s in reuse else core.Action.COMPUTE for s in evidence.sites}

    return SomeParts(fora.config_type(level="module"))

"""Scoped replacement of module forwards: installed for one network pass, gone after it, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Forward = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ForwardPatch:
    """A module and what to make of its forward: `wrap(original)` returns the replacement."""

    module: nn.Module
    wrap: Callable[[Forward], Forward]


def uncompiled(module: Any) -> Any:
    """Return the module behind torch.compile's wrapper: its sub-modules are the ones that run."""
    return getattr(module, "_orig_mod", module)


@contextmanager
def scoped_forwards(patches: Iterable[ForwardPatch], *, compiled: bool = False) -> Iterator[None]:
    """Replace the forwards of `patches` inside the `with` block and restore exactly what was there.

    Where the network runs `compiled`, the replacements and all they call are kept out of its graphs: they route and
    store, and being new in every pass they would be compiled again in every pass.

    An instance's own `forward` (put there by somebody else) is called by the replacement and put back after; a
    module that had none is left with none. Restored in reverse order, also on exceptions and interrupts.
    """
    undo: list[tuple[nn.Module, Forward | None]] = []
    try:
        for patch in patches:
            undo.append((patch.module, vars(patch.module).get("forward")))
            replacement = patch.wrap(patch.module.forward)
            if compiled:
                replacement = torch.compiler.disable(replacement)  # type: ignore[no-untyped-call]
            vars(patch.module)["forward"] = replacement
        yield
    finally:
        for module, previous in reversed(undo):
            if previous is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = previous

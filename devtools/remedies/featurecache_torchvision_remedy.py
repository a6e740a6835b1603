"""Lets a CUDA build of torchvision be imported beside a CPU build of torch.

Its compiled library does not load there, so its operators are missing, and registering their fake kernels at
import raises. Loaded through a .pth file (a sitecustomize module may exist already: Debian has one). Does
nothing until torchvision is imported, so that the interpreter starts as fast as before.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            _skip_missing_operators()
        return None


def _skip_missing_operators() -> None:
    import torch

    register = torch.library.register_fake

    def register_fake(op: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        if isinstance(op, str) and op.startswith("torchvision::") and _is_missing(op):
            return lambda function: function
        return register(op, *args, **kwargs)  # type: ignore[no-any-return]

    torch.library.register_fake = register_fake


def _is_missing(op: str) -> bool:
    import torch

    return not hasattr(torch.ops.torchvision, op.removeprefix("torchvision::"))


sys.meta_path.insert(0, _BeforeTorchvision())

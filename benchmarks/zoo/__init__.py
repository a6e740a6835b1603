"""The zoo: small real checkpoints, the generator and training behind them, and a development node.

Used twice: as the package `zoo` for training and evaluation (run from `benchmarks/`), and as a ComfyUI node
pack when this folder is linked into `custom_nodes`. Importing it loads nothing but the node, and that only
inside a host.
"""

from __future__ import annotations

import importlib.util

__all__: list[str] = []

if importlib.util.find_spec("comfy_api") is not None:
    from .nodes import comfy_entrypoint as comfy_entrypoint

    __all__ += ["comfy_entrypoint"]

"""The extension inside the host, without its server: policies are put on a MODEL as the nodes put them."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.host import prepare_host

ROOT = Path(__file__).resolve().parents[2]
_NAME = "feature_cache_pack"
_HALVINGS = 60


@dataclass(frozen=True)
class Engine:
    """The two halves of the extension, as modules."""

    core: Any
    """`cache_core`"""
    host: Any
    """`nodes.host`"""

    def carry(self, model: Any, policy: Any, reuse_until: int | None = None, num_steps: int = 0) -> Any:
        """Return a clone of a MODEL that carries `policy`.

        Args:
            model: Without a cache.
            policy: What to carry.
            reuse_until: First step from which on everything is computed; None allows reuse to the end.
            num_steps: Steps on the simple schedule; only needed with `reuse_until`.
        """
        end = 1.0 if reuse_until is None else percent_between(model, num_steps, reuse_until)
        return self.host.attach(model, self.host.CacheBinding(policy, 0.0, end))

    def report(self, model: Any) -> Any:
        """Return the report of the last run of a MODEL that carries a cache."""
        return self.host.find_binding(model).ledger.report


def load_engine() -> Engine:
    """Load the checkout as the host loads it: as a package under another name."""
    prepare_host()
    if _NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            _NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_NAME])
    return Engine(sys.modules[f"{_NAME}.cache_core"], sys.modules[f"{_NAME}.nodes.host"])


def sigmas_of(model: Any, num_steps: int) -> tuple[float, ...]:
    """Return the simple schedule of a MODEL, noisiest first, one more than there are steps."""
    import comfy.samplers

    levels = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", num_steps)
    return tuple(levels.tolist())


def percent_between(model: Any, num_steps: int, step: int) -> float:
    """Return the host's percent whose noise level lies between those of `step` - 1 and `step`."""
    to_sigma = model.get_model_object("model_sampling").percent_to_sigma
    sigmas = sigmas_of(model, num_steps)
    wanted = (sigmas[step - 1] + sigmas[step]) / 2.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if float(to_sigma(middle)) > wanted else (low, middle)
    return low

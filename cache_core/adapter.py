"""The contract of a model family: where its features are, and how a pass is routed through a session."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from .errors import UnsupportedModelError
from .registry import Registry
from .scope import Forward, ForwardPatch
from .types import MODEL_SITE, Feature, Indicator, Level, Site

ADAPTERS: Registry[Adapter] = Registry("model family")


class Router(Protocol):
    """What an adapter may ask of the session while one network pass runs."""

    def is_reused(self, *sites: Site) -> bool:
        """Return whether all `sites` are reused for every branch of this pass, so that none need run."""

    def recall(self, site: Site) -> Feature:
        """Return a new feature that stands in for the site's, for all branches; only where `is_reused`."""

    def settle(self, site: Site, feature: Feature) -> Feature:
        """Record a computed feature; return it unchanged, or a new one where some branches reuse theirs."""

    def timed(self, sites: tuple[Site, ...], compute: Callable[[], Any]) -> Any:
        """Run `compute`; its time, less that of nested calls, is saved when all `sites` are reused."""

    def route(self, site: Site, compute: Callable[[], Feature]) -> Feature:
        """Recall the site's feature, or compute, time and settle it."""

    def promise(self, site: Site) -> None:
        """Note that a module was skipped because a later one will `recall` the site; checked after the pass."""

    @property
    def indicator(self) -> Indicator | None:
        """What the schedule looks at in every run of this session, or None."""

    def awaits(self) -> bool:
        """Return whether the decision about this call still waits for the indicator."""

    def observe(self, value: Tensor) -> None:
        """Show the indicator, for all branches; the sites that run from here on follow the decision."""


Observer = Callable[[Router], ForwardPatch]
"""Makes the patch that shows an indicator to a router."""


class Adapter(ABC):
    """Where the features of one model family are. Names the host's classes as strings and copies no forward."""

    name: ClassVar[str]
    """Name of the family in reports, files and errors."""
    classes: ClassVar[tuple[str, ...]]
    """Qualified names of the network classes the family covers; subclasses are accepted if `check` finds no fault."""

    def __init__(self, network: nn.Module) -> None:
        """Bind to a live network.

        Raises:
            UnsupportedModelError: If the network lacks blocks or sub-modules that the adapter names.
        """
        self.network = network
        faults = self.check(network)
        if faults:
            raise UnsupportedModelError(
                f"'{class_name(type(network))}' looks like a '{self.classes[0]}' but {'; '.join(faults)}. Its blocks "
                "cannot be cached safely: remove the cache node, or use a loader that keeps ComfyUI's own classes."
            )

    @classmethod
    @abstractmethod
    def check(cls, network: nn.Module) -> list[str]:
        """Return what the network lacks, each as half a sentence; empty if it is as expected."""

    def sites(self, level: Level) -> tuple[Site, ...]:
        """Return the sites of a level in the order they run."""
        return (MODEL_SITE,) if level is Level.MODEL else self.block_sites(level)

    def patches(self, level: Level, router: Router) -> Iterator[ForwardPatch]:
        """Return the forward replacements that route one pass at `level` through `router`.

        The one that shows the indicator comes last, so that it is the outermost on its module.
        """
        if level is Level.MODEL:
            yield leaf(self.network, MODEL_SITE, router)
        else:
            yield from self.block_patches(level, router)
        if router.indicator is not None and router.awaits():
            yield self.observers()[router.indicator](router)

    def admit(self, level: Level, indicator: Indicator | None) -> None:
        """Check before sampling that the network has what a policy asks for.

        Raises:
            UnsupportedModelError: If it lacks the indicator, or shows it only after the level's first site.
        """
        shown = self.indicators(level)
        if indicator is not None and indicator not in shown:
            raise UnsupportedModelError(
                f"The schedule looks at '{indicator.value}', which the model family '{self.name}' does not show at level "
                f"'{level.value}'; it shows {_listed(shown)}. Choose another level, or a method with another schedule."
            )

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return rows and columns of picture tokens for a network input of `shape` (..., height, width)."""
        height, width = (-(-size // self.patch_size) for size in shape[-2:])
        return height, width

    @property
    @abstractmethod
    def patch_size(self) -> int:
        """Latent pixels along one edge of a token."""

    @property
    def width(self) -> int:
        """Numbers per token."""
        return int(self.network.hidden_size)  # type: ignore[arg-type]

    def num_tokens(self, site: Site, image: int, text: int) -> int:
        """Return the tokens in a site's feature, over all its streams, where there are so many of image and text."""
        if site.part.startswith("txt"):
            return text
        return image if site.part.startswith("img") or site.level is Level.STACK else image + text

    def indicators(self, level: Level) -> tuple[Indicator, ...]:
        """Return what the network shows before the first site of `level` that can be reused."""
        return (Indicator.NETWORK_INPUT,) if level is Level.MODEL else tuple(self.observers())

    def observers(self) -> Mapping[Indicator, Observer]:
        """Return how to watch for each indicator that the network shows."""
        return {Indicator.NETWORK_INPUT: lambda router: before(self.network, router, _network_input)}

    @abstractmethod
    def block_sites(self, level: Level) -> tuple[Site, ...]:
        """Return the sites of level STACK, BLOCK or MODULE in the order they run."""

    @abstractmethod
    def block_patches(self, level: Level, router: Router) -> Iterable[ForwardPatch]:
        """Return the forward replacements for level STACK, BLOCK or MODULE."""


def find_adapter(network: nn.Module) -> type[Adapter]:
    """Return the adapter class for a network, by the names of its class and its base classes.

    Raises:
        UnsupportedModelError: If no family covers it; the text lists those that are covered.
    """
    names = {class_name(base) for base in type(network).__mro__}
    for adapter in ADAPTERS.values():
        if names.intersection(adapter.classes):
            return adapter
    raise UnsupportedModelError(
        f"No cache for the network '{class_name(type(network))}'. Supported families: {', '.join(ADAPTERS)}. "
        "Remove the cache node for this model; nothing was changed."
    )


def class_name(cls: type) -> str:
    """Return the qualified name that adapters use for a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def missing_parts(
    block: nn.Module, where: str, modules: Iterable[str], arguments: Iterable[str]
) -> list[str]:
    """Return which sub-modules and forward arguments `block` lacks, as half sentences for `Adapter.check`."""
    accepted = inspect.signature(type(block).forward).parameters
    faults = [f"{where} has no sub-module '{name}'" for name in modules if not _has(block, name)]
    return faults + [f"{where} takes no argument '{name}'" for name in arguments if name not in accepted]


def leaf(module: nn.Module, site: Site, router: Router) -> ForwardPatch:
    """Return the patch for a sub-module whose output is the feature: recall it, or compute and record it."""

    def wrap(original: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Tensor:
            return router.route(site, lambda: (original(*args, **kwargs),))[0]

        return forward

    return ForwardPatch(module, wrap)


def before(module: nn.Module, router: Router, read: Callable[..., Tensor]) -> ForwardPatch:
    """Return the patch that shows the router what `read` makes of a module's arguments, before the module runs."""

    def wrap(original: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if router.awaits():
                router.observe(read(*args, **kwargs))
            return original(*args, **kwargs)

        return forward

    return ForwardPatch(module, wrap)


def after(module: nn.Module, router: Router) -> ForwardPatch:
    """Return the patch that shows the router the output of a module."""

    def wrap(original: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            if router.awaits():
                router.observe(output)
            return output

        return forward

    return ForwardPatch(module, wrap)


def watched(module: nn.Module, see: Callable[[Tensor], None]) -> ForwardPatch:
    """Return the patch that shows a module's output to `see`, which must not change it."""

    def wrap(original: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            see(output)
            return output

        return forward

    return ForwardPatch(module, wrap)


def _network_input(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x


def _listed(indicators: tuple[Indicator, ...]) -> str:
    return ", ".join(f"'{indicator.value}'" for indicator in indicators)


def _has(block: nn.Module, name: str) -> bool:
    try:
        block.get_submodule(name)
    except AttributeError:
        return False
    return True

"""Where everything is: the checkout, and the cache folder that holds whatever setting up fetches."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import DevError

CHECKOUT = Path(__file__).resolve().parent.parent
"""The checkout that this file belongs to."""

HOME_VARIABLE = "FEATURECACHE_HOME"
"""Environment variable that moves the cache folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The checkout and the folders of one cache folder."""

    checkout: Path
    home: Path

    @property
    def hosts(self) -> Path:
        """Unpacked ComfyUI versions, one folder each."""
        return self.home / "hosts"

    @property
    def environments(self) -> Path:
        """Private virtual environments."""
        return self.home / "envs"

    @property
    def runs(self) -> Path:
        """Base folders of running servers."""
        return self.home / "runs"

    @property
    def logs(self) -> Path:
        """Logs of the set-up steps, one file each, overwritten by the next run."""
        return self.home / "logs"

    @property
    def views(self) -> Path:
        """Validly named views of checkouts."""
        return self.home / "views"

    @property
    def caches(self) -> Path:
        """Caches of the linters and tests, so that the checkout stays clean."""
        return self.home / "caches"

    @property
    def marker(self) -> Path:
        """The file that says that the cache folder is ours, and may be removed whole."""
        return self.home / "featurecache-cache-folder"

    @property
    def checkout_id(self) -> str:
        """Short name of the checkout, so that several checkouts can share a cache folder."""
        return short_hash(str(self.checkout))


def claim(place: Layout) -> None:
    """Makes the cache folder, and marks it as ours.

    Args:
        place: Where it is.

    Raises:
        DevError: The folder holds other things, which `clean` would endanger.
    """
    if place.marker.exists():
        return
    if place.home.exists() and any(place.home.iterdir()):
        raise DevError(
            "the cache folder holds other things",
            got=f"{place.home}, not empty and not made by us",
            expected="an empty folder, or a path where one can be made",
            fix=f"set {HOME_VARIABLE} or --cache-dir to a folder that nothing else uses",
        )
    place.home.mkdir(parents=True, exist_ok=True)
    place.marker.write_text(
        "The cache folder of dev.py of ComfyUI-FeatureCache; can be removed.\n", encoding="utf-8"
    )


def short_hash(text: str) -> str:
    """Returns 12 hexadecimal digits that identify `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def layout(cache_dir: Path | None = None, checkout: Path = CHECKOUT) -> Layout:
    """Returns where things are, from the option, else the environment, else the platform's cache folder.

    Args:
        cache_dir: The `--cache-dir` option.
        checkout: Root of the checkout.

    Raises:
        DevError: The cache folder would be a file.
    """
    named = cache_dir or os.environ.get(HOME_VARIABLE) or platform_cache() / "comfyui-featurecache"
    home = Path(named).expanduser().absolute()
    if home.exists() and not home.is_dir():
        raise DevError(
            "the cache folder is not a folder",
            got=f"a file at {home}",
            expected="a folder, or a path where one can be made",
            fix=f"set {HOME_VARIABLE} or --cache-dir to another path",
        )
    return Layout(checkout=checkout, home=home)


def platform_cache() -> Path:
    """Returns the folder in which this platform keeps the caches of its programs."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")

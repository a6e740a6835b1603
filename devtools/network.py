"""Short probes of the network, so that a machine without it loses seconds and not minutes."""

from __future__ import annotations

import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

PROBE_SECONDS = 5.0


def is_reachable(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Returns whether a web address answers in time, through the proxy that the environment names.

    Args:
        url: An http or https address.
        seconds: The whole time allowed. A thread keeps it, since a name look-up has no time-out of its own.
    """
    answered = threading.Event()
    threading.Thread(target=_probe, args=(url, seconds, answered), daemon=True).start()
    return answered.wait(seconds)


def _probe(url: str, seconds: float, answered: threading.Event) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
            answered.set()
    except (OSError, ValueError):
        # urllib.error.URLError is an OSError; whatever it was, the address is of no use now.
        return


def download_size(urls: list[str]) -> int | None:
    """Returns how many bytes these addresses hold together, or None if one of them does not say.

    Args:
        urls: http, https or file addresses.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        sizes = list(pool.map(_size, urls))
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _size(url: str) -> int | None:
    try:
        if urlsplit(url).scheme == "file":
            return Path(urllib.request.url2pathname(urlsplit(url).path)).stat().st_size
        with urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS
        ) as answer:
            length = answer.headers.get("Content-Length")
    except (OSError, ValueError):
        return None
    return int(length) if length else None

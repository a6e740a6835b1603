"""Progress for a person: what is being done, how large, how long. ASCII, flushed, quiet in pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PIPE_SECONDS = 15.0
"""Seconds between two progress lines where the output is no terminal (a CI log)."""


def say(text: str) -> None:
    """Prints one line at once, so that it comes before the output of the next child process."""
    print(text, flush=True)


def human_bytes(count: int) -> str:
    """Returns a byte count in decimal units, for example `1.2 GB`.

    Args:
        count: Bytes, 0 or more.
    """
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


@contextmanager
def step(title: str) -> Iterator[None]:
    """Prints a step's title, and when it succeeds how many seconds it took."""
    say(f"==> {title}")
    start = time.monotonic()
    yield
    say(f"    done in {time.monotonic() - start:.1f} s")


@dataclass(slots=True)
class Ticker:
    """Shows that something long is alive: one line rewritten on a terminal, a line now and then in a pipe."""

    start: float = field(default_factory=time.monotonic)
    shown: float = 0.0

    def tick(self, text: str) -> None:
        """Shows elapsed seconds and `text`, not more often than is useful."""
        elapsed = time.monotonic() - self.start
        on_terminal = sys.stdout.isatty()
        if elapsed - self.shown < (0.5 if on_terminal else _PIPE_SECONDS):
            return
        self.shown = elapsed
        line = f"    {elapsed:4.0f} s  {text}"[:100]
        print(f"\r{line:<100}" if on_terminal else line, end="" if on_terminal else "\n", flush=True)

    def close(self) -> None:
        """Clears the rewritten line of a terminal."""
        if self.shown and sys.stdout.isatty():
            print("\r" + " " * 100 + "\r", end="", flush=True)

"""The command line of `dev.py`."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from . import commands
from .errors import DevError
from .versions import ARCHIVES, DEFAULT_HOST

_EPILOG = """\
examples:
  python dev.py test                      set up if need be, then every check and every test
  python dev.py test -- tests/core -k fora
  python dev.py demo                      with and without the node, in a real ComfyUI, table and picture
  python dev.py serve --port 8188         ComfyUI with our nodes in the browser

environment:
  COMFYUI_PATH        an existing ComfyUI to use instead of fetching one
  FEATURECACHE_HOME   the cache folder (about 3 GB)
"""


def parser() -> argparse.ArgumentParser:
    """Returns the command line's grammar."""
    root = argparse.ArgumentParser(
        prog="dev.py",
        description="Development commands of ComfyUI-FeatureCache.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subs = root.add_subparsers(dest="command", required=True, metavar="command")
    _add(subs, "setup", commands.setup, "fetch a ComfyUI and make the private environments")
    lint = _add(subs, "lint", commands.lint, "ruff and mypy")
    lint.add_argument("--fix", action="store_true", help="let ruff mend and format what it can")
    test = _add(subs, "test", commands.test, "every check and every test; pytest's arguments after --")
    extent = test.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="leave out tests that are marked slow")
    extent.add_argument(
        "--matrix", action="store_true", help="every cell of the compatibility matrix, and nothing else"
    )
    demo = _add_server(subs, "demo", commands.demo, "sample with and without the node and compare")
    demo.add_argument(
        "--output", default="demo-output", help="folder for the picture and table (default: %(default)s)"
    )
    serve = _add_server(subs, "serve", commands.serve, "run ComfyUI with our nodes for the browser")
    serve.add_argument("--open", action="store_true", help="open the browser")
    zoo = _add(subs, "zoo", commands.zoo, "train or evaluate the small checkpoints; its arguments follow")
    zoo.add_argument("what", choices=tuple(commands.ZOO_PROGRAMS), help="which command of the zoo")
    zoo.add_argument("program", nargs=argparse.REMAINDER, metavar="...", help="its own arguments")
    bench = _add(subs, "bench", commands.bench, "measure; the benchmark's own arguments follow")
    bench.add_argument("what", choices=tuple(commands.BENCHMARKS), help="which benchmark")
    bench.add_argument("program", nargs=argparse.REMAINDER, metavar="...", help="its own arguments")
    train = _add(
        subs, "train-router", commands.train_router, "train a router for a model; its own arguments after --"
    )
    train.add_argument("--processes", type=int, default=1, help="one per device (default: %(default)s)")
    _add(subs, "docs", commands.docs, "write the pages that are made from measurements and from the code")
    _add(subs, "info", commands.info, "what is where, versions, disk used")
    _add(subs, "clean", commands.clean, "remove what setup made (with --host-version: that one only)")
    return root


Command = Callable[[argparse.Namespace], int]
Subparsers = argparse._SubParsersAction  # argparse has no public name for it


def _add(
    subs: Subparsers[argparse.ArgumentParser], name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    sub = subs.add_parser(name, help=text, description=text, allow_abbrev=False)
    sub.set_defaults(run=command)
    sub.add_argument(
        "--host-version", choices=tuple(ARCHIVES), help=f"which pinned ComfyUI (default: {DEFAULT_HOST})"
    )
    sub.add_argument(
        "--cache-dir", type=Path, help="cache folder (default: FEATURECACHE_HOME, else the platform's)"
    )
    return sub


def _add_server(
    subs: Subparsers[argparse.ArgumentParser], name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    sub = _add(subs, name, command, text)
    sub.add_argument("--port", type=int, help="port of the server (default: a free one)")
    sub.add_argument("--gpu", action="store_true", help="let ComfyUI use an accelerator (default: CPU only)")
    return sub


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options; whatever a command passes on to another program is in `rest`.

    Args:
        arguments: The command line without the program's name.
    """
    own, rest = _split(list(arguments))
    options = parser().parse_args(own)
    options.rest = [*getattr(options, "program", ()), *rest]
    return options


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def main(arguments: Sequence[str]) -> int:
    """Runs one command.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit status: 0, 1 for a failed check or a mistake, 130 after Ctrl-C, or another program's own.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A log may hold characters that a Windows console cannot show; better a "?" than a traceback.
            stream.reconfigure(errors="replace")
    options = parse(arguments)
    try:
        return int(options.run(options))
    except DevError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; nothing is left running", file=sys.stderr, flush=True)
        return 130


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # As after Ctrl-C: every `finally` runs, so servers and half-made folders go away.
    raise KeyboardInterrupt

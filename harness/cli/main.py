"""The command line ``imagenet-gate``, the same as ``python -m harness``: everything that is not a test."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from types import FrameType
from typing import NoReturn

from harness import __version__
from harness.errors import HarnessError
from harness.report.sections import for_stderr

# In the order of the help; each is a module of this package.
COMMANDS = (
    "run", "doctor", "compare", "report", "merge", "export", "expected", "weights", "dataset", "store", "baseline",
    "nightly", "ab", "bisect", "noise",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 success, 1 a check failed, 2 an error, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    # The others are imported for the help only.
    parser = _parser([command for command in COMMANDS if command in words[:1]] or COMMANDS)
    options, more = parser.parse_known_args(arguments)
    if "--" in more:
        more.remove("--")
    options.more = more
    if more and not options.takes_more:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    try:
        with nullcontext() if options.ends_itself else _interrupted_by_signals():
            status: int = options.run(options)
        sys.stdout.flush()
    except HarnessError as error:
        print(for_stderr(f"error: {error}"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # as by `| head`: nobody reads on, and Python must not try to write at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt as interrupt:
        by, advice = f" by {interrupt}" if interrupt.args else "", options.interrupted and f"; {options.interrupted}"
        print(for_stderr(f"interrupted{by}{advice}"), file=sys.stderr)
        return 130
    except Exception:
        # A bug of the harness: with its traceback, and never with the exit status of a check that failed.
        traceback.print_exc()
        return 2
    return status


class _Parser(argparse.ArgumentParser):
    """A parser, and those of its commands, whose errors fit a terminal."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, message and for_stderr(message))


def _parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="imagenet-gate",
        description="run runs the gate, like pytest -m imagenet; the others prepare runs or work with finished ones.",
        epilog="Exit status: 0 success, 1 a check failed, 2 an error, 130 interrupted; of run, pytest's.",
    )
    parser.add_argument("--version", action="version", version=f"imagenet-gate {__version__}")
    parser.set_defaults(takes_more=False, ends_itself=False, interrupted="")  # a command may set others
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in names:
        import_module(f"harness.cli.{command}").add(commands)
    return parser


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let the signals that end a process interrupt it once, as Ctrl-C does, so that what it has started ends too."""

    def interrupt(number: int, _: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    names = {"SIGINT", "SIGTERM", "SIGHUP"}  # the last not on Windows
    is_main = threading.current_thread() is threading.main_thread()  # others can set no handler
    known = {one: signal.getsignal(one) for one in signal.Signals if is_main and one.name in names}
    # Ignored ones stay so, as by nohup, and those of C code, which Python does not know.
    before = {one: handler for one, handler in known.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for one in before:
            signal.signal(one, interrupt)
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)

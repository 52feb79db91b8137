"""The command line ``imagenet-gate``, the same as ``python -m harness``: everything that is not a test."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from harness import __version__
from harness.errors import HarnessError

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
    if more and not getattr(options, "takes_more", False):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as by `| head`: nobody reads on, and Python must not try to write at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception:
        # A bug of the harness: with its traceback, and never with the exit status of a check that failed.
        traceback.print_exc()
        return 2
    return status


def _parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagenet-gate",
        description="The gate (run, the same as pytest -m imagenet), and commands beside it.",
        epilog="Exit status: 0 success, 1 a check failed, 2 an error, 130 interrupted; of run, pytest's.",
    )
    parser.add_argument("--version", action="version", version=f"imagenet-gate {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in names:
        import_module(f"harness.cli.{command}").add(commands)
    return parser

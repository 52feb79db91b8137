"""The command line ``imagenet-gate``, the same as ``python -m harness``: everything that is not a test."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from harness.cli import compare, dataset, expected, merge, noise, report, store
from harness.errors import HarnessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 success, 1 a check failed, 2 an error, 130 interrupted."""
    options = _parser().parse_args(arguments)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagenet-gate",
        description="Commands other than the gate itself, which is: pytest -m imagenet --imagenet DIR",
        epilog="Exit status: 0 success, 1 a check failed, 2 an error, 130 interrupted.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (compare, dataset, expected, merge, noise, report, store):
        command.add(commands)
    return parser

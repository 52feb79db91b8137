"""``python -m harness``: what is not a test.

Exit status: 0 fine, 1 a check failed, 2 it could not be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from harness.commands import baseline, compare, expected, merge, plan, report, split, store
from harness.errors import HarnessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as by `| head`: nobody reads on, and Python must not try to at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception:
        # A fault of the harness itself: with its traceback, and never with the status of a check that failed.
        traceback.print_exc()
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness",
        description="Companion of the gate; the gate itself is: pytest -m imagenet --imagenet DIR",
        epilog="Exit status: 0 fine, 1 a check failed, 2 it could not be done, 130 interrupted.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (baseline, compare, expected, merge, plan, report, split, store):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

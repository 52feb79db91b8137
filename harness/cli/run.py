"""``imagenet-gate run``: the gate in any folder; all arguments are pytest's."""

from __future__ import annotations

import argparse

from harness.cli import Commands
from harness.options import ACCURACY, THROUGHPUT

# What the project's own configuration says of timing, which another folder's does not.
_TIMING = ("--benchmark-max-time=3", "--benchmark-min-rounds=8", "--benchmark-columns=median,iqr,rounds")


def add(commands: Commands) -> None:
    """Declare the command."""
    # No argument is an option of this parser: pytest reads them all, --help among them.
    run = commands.add_parser("run", help="run the gate; arguments are pytest's", prefix_chars="\0", add_help=False)
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    run.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import pytest  # here, since other commands need neither

    from harness.early import RESTARTED

    arguments: list[str] = options.arguments
    marks = [argument for argument in arguments if argument.startswith("-m")]
    tests = ["--pyargs", "harness.gate_tests", *([] if marks else ["-m", ACCURACY])]
    timing = _TIMING if any(THROUGHPUT in argument for argument in arguments) else ()
    return int(pytest.main([*RESTARTED, *tests, *timing, *arguments]))

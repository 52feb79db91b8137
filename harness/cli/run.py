"""``imagenet-gate run``: the gate in any folder; all arguments are pytest's."""

from __future__ import annotations

import argparse
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING

from harness.cli import Commands
from harness.options import ACCURACY, THROUGHPUT

if TYPE_CHECKING:
    import pytest

_NAME = "imagenet-gate run"
# What the project's own configuration says of timing, which another folder's does not.
_TIMING = ("--benchmark-max-time=3", "--benchmark-min-rounds=8", "--benchmark-columns=median,iqr,rounds")


def add(commands: Commands) -> None:
    """Declare the command."""
    # No argument is an option of this parser: pytest reads them all.
    run = commands.add_parser("run", help="run the gate; arguments are pytest's", prefix_chars="\0", add_help=False)
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    run.set_defaults(run=_run, ends_itself=True)  # by the gate's own handlers of signals


def _run(options: argparse.Namespace) -> int:
    import pytest  # here, since other commands need neither

    from harness.early import RESTARTED

    arguments: list[str] = options.arguments
    if {"-h", "--help"}.intersection(arguments):
        _show_options()
        return 0
    marks = [argument for argument in arguments if argument.startswith("-m")]
    tests = ["--pyargs", "harness.gate_tests", *([] if marks else ["-m", ACCURACY])]
    timing = _TIMING if any(THROUGHPUT in argument for argument in arguments) else ()
    return int(pytest.main([*RESTARTED, *tests, *timing, *arguments], plugins=[__name__]))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Give pytest's usage errors the name that was typed: this module is a plugin of its runs."""
    parser.prog = _NAME


def _show_options() -> None:
    """Print the options that the gate's plugins declare, without pytest's own hundreds."""
    from harness.early import PLUGINS

    parser = argparse.ArgumentParser(
        _NAME,
        usage="%(prog)s [options] [pytest options]",
        description="Run the gate, or the timings with -m throughput.",
        epilog="All other options are passed to pytest; see pytest --help.",
    )
    group = SimpleNamespace(addoption=parser.add_argument)
    for plugin in PLUGINS:
        import_module(plugin).pytest_addoption(SimpleNamespace(getgroup=lambda *_: group))
    parser.print_help()

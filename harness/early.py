"""Loaded by pytest before any conftest.py, so that ``--imagenet DIR`` can be written with a space.

pytest looks for its configuration before it knows the options that a conftest.py declares. A folder that follows such
an option is then taken for a path to collect from: pytest looks there for rootdir and configuration, and never reads
the conftest.py of the working folder, which declares the option (pytest issues 906, 6904 and 13411). This module is the
entry point of the installed project; it joins option and value by ``=`` and starts pytest again. It declares no option
and changes nothing in runs that do not ask for the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

PLUGINS = (
    "harness.plugin",
    "harness.baseline.plugin",
    "harness.reference.plugin",
    "harness.parallel.plugin",
    "harness.throughput.plugin",
    "harness.report.plugin",
)
"""One plugin for the core, and one for each optional package that takes part in a run."""

# The first start has imported modules whose assertions the second would rewrite.
RESTARTED = ("-W", "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning")
_PATH_OPTIONS = frozenset({"--imagenet", "--expected", "--store", "--results", "--baseline"})


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Declare the gate's options, so that the command line can be parsed as far as ``pytest_cmdline_main``."""
    if _joined(early_config.invocation_params.args):
        for plugin in PLUGINS:
            early_config.pluginmanager.import_plugin(plugin)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Start again with the joined command line, if anything had to be joined."""
    args = _joined(config.invocation_params.args)
    return pytest.main([*RESTARTED, *args], plugins=config.invocation_params.plugins) if args else None


def typed_by_user(arguments: Sequence[Any]) -> Sequence[Any]:
    """Return pytest's arguments without those that the second start was given."""
    return arguments[len(RESTARTED) :] if tuple(arguments[: len(RESTARTED)]) == RESTARTED else arguments


def _joined(args: Sequence[str]) -> list[str] | None:
    """Return the command line with its path options joined to their values; None if there is nothing to join."""
    marks = [mark for option, mark in pairwise(args) if option == "-m"]
    if not {"--imagenet", "--results", "--baseline"}.intersection(args) and not any("imagenet" in m for m in marks):
        return None
    joined: list[str] = []
    for arg in args:
        if joined and joined[-1] in _PATH_OPTIONS:
            joined[-1] += f"={arg}"
        else:
            joined.append(arg)
    return joined if len(joined) < len(args) else None

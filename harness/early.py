"""Loaded by pytest before any conftest.py: lets ``--imagenet DIR`` be written with a space.

pytest looks for its configuration before it knows the options of a conftest.py. A folder that follows such an
option then passes for a path to collect from: rootdir and configuration are sought there, and the conftest.py
of the working folder, which declares the option, is never read (pytest issues 906, 6904 and 13411). This module
is the entry point of the installed project; it joins option and value by ``=`` and starts pytest over. Runs
that have nothing to do with the gate are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

# What the first start has imported is there already when the second would rewrite its assertions.
STARTED_OVER = ("-W", "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning")
# The options whose values are paths.
_PATH_OPTIONS = frozenset({"--imagenet", "--expected", "--store", "--results", "--baseline"})


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Declare the gate's options, so that the command line can be parsed as far as ``pytest_cmdline_main``."""
    if _joined(early_config.invocation_params.args):
        for plugin in ("harness.parallel", "harness.plugin"):
            early_config.pluginmanager.import_plugin(plugin)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Start over with the joined command line, if anything had to be joined."""
    args = _joined(config.invocation_params.args)
    return pytest.main([*STARTED_OVER, *args], plugins=config.invocation_params.plugins) if args else None


def _joined(args: Sequence[str]) -> list[str] | None:
    """Return the command line with its path options joined to their values, None if there is nothing to join."""
    marks = [mark for option, mark in pairwise(args) if option == "-m"]
    if not {"--imagenet", "--results", "--baseline"}.intersection(args) and not any(
        "imagenet" in mark for mark in marks
    ):
        return None
    joined: list[str] = []
    for arg in args:
        if joined and joined[-1] in _PATH_OPTIONS:
            joined[-1] += f"={arg}"
        else:
            joined.append(arg)
    return joined if len(joined) < len(args) else None

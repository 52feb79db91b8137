"""Loaded by pytest before any conftest.py, so that ``--imagenet DIR`` can be written with a space.

pytest looks for its configuration before it knows the options of plugins and of a conftest.py. A folder or a file that
follows such an option is then taken for a path to collect from: pytest looks there for rootdir and configuration, and
never reads the conftest.py of the working folder (pytest issues 906, 6904 and 13411). This module is the entry point of
the installed project; it joins option and value by ``=`` and starts pytest again. In runs that do not ask for the gate
it declares no option, only keys of the ini file.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PLUGINS = (
    "harness.plugin",
    "harness.baseline.plugin",
    "harness.parallel.plugin",
    "harness.throughput.plugin",
    "harness.report.plugin",
)
"""One plugin for the core, and one for each optional package that takes part in a run."""

# For the second start: the process has already imported modules whose assertions pytest would rewrite.
RESTARTED = ("-W", "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning")
_ASKED_FOR = re.compile(r"(?<!not )\b(imagenet|throughput)\b")
# They identify a run of the gate where -m does not; no other plugin is known to have options of these names.
_OWN_OPTIONS = frozenset({"--imagenet", "--results", "--baseline"})
INI = ("imagenet_dataset", "imagenet_models", "imagenet_precision", "imagenet_baseline", "imagenet_store")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the keys of pytest's ini file, which are read in runs that ask for the gate."""
    for key in INI:
        parser.addini(key, f"the gate's default {key.removeprefix('imagenet_')}")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Declare the gate's options, so that the command line can be parsed as far as ``pytest_cmdline_main``."""
    if _ASKED_FOR.search(early_config.known_args_namespace.markexpr or "") or _OWN_OPTIONS.intersection(args):
        for plugin in PLUGINS:
            early_config.pluginmanager.import_plugin(plugin)
        import_module("harness.parallel.plugin").end_at_once_by_signals(early_config)
        if any(map(early_config.getini, INI)):
            from harness.records.ini_file import IniDefaults

            early_config.pluginmanager.register(IniDefaults(early_config, INI, args))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | pytest.ExitCode | None:
    """Start again with the joined command line, if anything had to be joined."""
    if not config.pluginmanager.has_plugin(PLUGINS[0]):
        return None
    # Every option that was declared, by its name; pytest has no public way to ask for them.
    declared = config._parser.optparser._option_string_actions
    given, variable = typed_by_user(config.invocation_params.args), os.environ.get("PYTEST_ADDOPTS", "")
    args, addopts = joined(given, declared), joined(shlex.split(variable), declared)
    if args == given and addopts == shlex.split(variable):
        return None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", shlex.join(addopts))
        return pytest.main([*RESTARTED, *args], plugins=config.invocation_params.plugins)


def typed_by_user(arguments: Sequence[Any]) -> list[str]:
    """Return pytest's arguments without those that the second start added."""
    return list(map(str, arguments[len(RESTARTED) :] if tuple(arguments[: len(RESTARTED)]) == RESTARTED else arguments))


def joined(args: Sequence[str], declared: Mapping[str, argparse.Action]) -> list[str]:
    """Return the command line with each option joined to the existing path that follows it as its value.

    pytest does not take a path that does not exist for one to collect from.
    """
    found: list[str] = []
    for arg in args:
        option = declared.get(found[-1]) if found and found[-1].startswith("--") else None
        if option is not None and option.nargs in (None, "?") and not arg.startswith("-") and Path(arg).exists():
            found[-1] += f"={arg}"
        else:
            found.append(arg)
    return found

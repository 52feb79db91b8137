"""Defaults of options in pytest's ini file: ``imagenet_dataset`` and the other keys of ``harness.early.INI``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.dataset import SYNTHETIC

if TYPE_CHECKING:
    import pytest

# Keys of paths, and the variable that takes precedence over each.
_PATHS = {"imagenet_dataset": "IMAGENET_DIR", "imagenet_store": "IMAGENET_STORE", "imagenet_baseline": ""}


class IniDefaults:
    """The defaults of a session: command line and environment take precedence, and the header lists them."""

    def __init__(self, config: pytest.Config, keys: Sequence[str], args: list[str]) -> None:
        """Put the defaults before the command line."""
        self._config, self._given = config, list[str]()
        beside = config.invocation_params.dir if config.inipath is None else config.inipath.parent
        for key in keys:
            value = config.getini(key)
            if value and not os.environ.get(_PATHS.get(key, "")):
                path = beside / Path(value).expanduser()
                option = "--imagenet" if key == "imagenet_dataset" else f"--{key.removeprefix('imagenet_')}"
                self._given.append(f"{option}={path if key in _PATHS and value != SYNTHETIC else value}")
        args[:0] = self._given

    def pytest_report_header(self) -> list[str]:
        """Show the defaults in effect."""
        option = self._config.getoption
        counting = [each for each in self._given if str(option(each.partition("=")[0])) == each.partition("=")[2]]
        return [f"defaults: {' '.join(counting)} ({self._config.inipath or '-o'})"] if counting else []

"""Plants a fault in this process: replaces a function by name, right after its module was imported."""

from __future__ import annotations

import inspect
import os
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from tests.faults.planted import FAULTS, Fault

FAULT, TRACE = "IMAGENET_GATE_FAULT", "IMAGENET_GATE_FAULT_TRACE"
"""Environment variables: the fault to plant, and a file to make once it was planted."""


def plant(name: str) -> None:
    """Plant the fault of that name in this process; a LookupError says that there is none."""
    found = [fault for fault in FAULTS if fault.name == name]
    if not found:
        raise LookupError(f"{FAULT}: expected the name of a planted fault, found {name!r}")
    execute = SourceFileLoader.exec_module

    def executed(loader: SourceFileLoader, module: ModuleType) -> None:
        execute(loader, module)
        if module.__name__ == found[0].target.partition(":")[0]:
            _replace(module, found[0])

    SourceFileLoader.exec_module = executed  # type: ignore[assignment, method-assign]


def _replace(module: ModuleType, fault: Fault) -> None:
    """Replace the attribute of a module that the fault names, which may be that of a class in it."""
    path, _, name = fault.target.partition(":")[2].rpartition(".")
    owner = getattr(module, path) if path else module
    replacement = fault.replace(getattr(owner, name))
    bound = isinstance(inspect.getattr_static(owner, name), classmethod)
    setattr(owner, name, staticmethod(replacement) if bound else replacement)
    if trace := os.environ.get(TRACE):
        Path(trace).touch()

"""Plants a fault in this process: replaces a function by name, right after its module was imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tests.faults.planted import FAULTS, Fault

FAULT, TRACE, FAULT_ROOT = "IMAGENET_GATE_FAULT", "IMAGENET_GATE_FAULT_TRACE", "IMAGENET_GATE_FAULT_ROOT"
"""Environment variables: the fault to plant, a file to make once it was planted, and the root of this project."""


def replace(module: ModuleType, fault: Fault) -> None:
    """Replace the attribute of a module that the fault names, which may be that of a class in it."""
    path, _, name = fault.target.partition(":")[2].rpartition(".")
    owner = getattr(module, path) if path else module
    replacement = fault.replace(getattr(owner, name))
    bound = isinstance(inspect.getattr_static(owner, name), classmethod)
    setattr(owner, name, staticmethod(replacement) if bound else replacement)
    if trace := os.environ.get(TRACE):
        Path(trace).touch()


class Planter(importlib.abc.MetaPathFinder):
    """Finds the module that a fault changes, and changes it when it has been executed."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's own specification, with a loader that plants the fault."""
        if fullname != self._fault.target.partition(":")[0]:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            replace(module, self._fault)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def plant(name: str) -> None:
    """Plant the fault of that name in this process; a LookupError says that there is none."""
    found = [fault for fault in FAULTS if fault.name == name]
    if not found:
        raise LookupError(f"{FAULT}: expected the name of a planted fault, found {name!r}")
    sys.meta_path.insert(0, Planter(found[0]))

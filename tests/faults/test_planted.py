"""Every fault can be planted; ``python -m tests.faults`` runs the gate with each of them, which takes minutes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

from tests.faults.plant import FAULT, FAULT_ROOT, TRACE
from tests.faults.planted import FAULTS, Fault
from tests.faults.runs import ROOT, SITE
from tests.faults.sound import SOUND


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_replaces_something_that_exists(fault: Fault) -> None:
    """A target that was renamed would fail only in the complete run, which also shows that the fault is caught."""
    module, _, attribute = fault.target.partition(":")
    assert callable(attrgetter(attribute)(importlib.import_module(module)))


def test_names_are_unique() -> None:
    """The folders of the runs are called by them."""
    names = [each.name for each in (*FAULTS, *SOUND)]
    assert len(set(names)) == len(names)


def test_the_environment_names_the_fault_that_a_process_has(tmp_path: Path) -> None:
    """Planted right after the module was imported, and in time for what imports from it."""
    script = "from harness.dataset import ImageDataset; print(ImageDataset.from_rows.__module__)"

    sound = _python(script, tmp_path)
    faulty = _python(script, tmp_path, "labels shifted by one")

    assert (sound.returncode, sound.stdout) == (0, "harness.dataset\n")
    assert (faulty.returncode, faulty.stdout) == (0, "tests.faults.planted\n")
    assert (tmp_path / "planted").exists()


def test_a_process_ends_that_cannot_plant_the_fault(tmp_path: Path) -> None:
    """Rather than run without it, which would look like a fault that was not detected."""
    ended = _python("print('not reached')", tmp_path, "no such fault")

    assert ended.returncode == 3
    assert ended.stdout == ""
    assert f'no fault was planted: LookupError("{FAULT}: expected the name of a planted fault' in ended.stderr
    assert "'no such fault'" in ended.stderr


def _python(script: str, folder: Path, fault: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != FAULT}
    environment |= {"PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT)]), FAULT_ROOT: str(ROOT)}
    environment |= {TRACE: str(folder / "planted")} | ({FAULT: fault} if fault else {})
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

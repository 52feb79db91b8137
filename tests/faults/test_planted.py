"""Every fault can be planted; ``python -m tests.faults`` runs the gate with each of them, which takes minutes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

from tests.faults.plant import FAULT, TRACE
from tests.faults.planted import FAULTS
from tests.faults.runs import ROOT, SITE
from tests.faults.sound import SOUND


def test_each_fault_replaces_something_that_exists_under_a_name_of_its_own() -> None:
    """A target that was renamed would fail only in the complete run, whose folders are called by the names."""
    names = [fault.name for fault in FAULTS] + [sound.name for sound in SOUND]

    assert len(set(names)) == len(names)
    for fault in FAULTS:
        module, _, attribute = fault.target.partition(":")
        assert callable(attrgetter(attribute)(importlib.import_module(module))), fault.name


@pytest.mark.parametrize(
    ("fault", "status", "module", "error"),
    [
        ({}, 0, "harness.dataset\n", ""),
        ({FAULT: "labels shifted by one"}, 0, "tests.faults.planted\n", ""),
        ({FAULT: "none"}, 3, "", f'no fault was planted: LookupError("{FAULT}: expected '),
    ],
    ids=["sound", "faulty", "unknown"],
)
def test_the_environment_names_the_fault_that_a_process_has(
    fault: dict[str, str], status: int, module: str, error: str, tmp_path: Path
) -> None:
    """Planted in time for what imports from the module; without it, a run would look like a fault not detected."""
    script = "from harness.dataset import ImageDataset; print(ImageDataset.from_rows.__module__)"
    environment = {**os.environ, "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}", TRACE: str(tmp_path / "planted"), **fault}

    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)

    assert (status, module) == (run.returncode, run.stdout)
    assert run.stderr.startswith(error)
    assert (tmp_path / "planted").exists() == module.startswith("tests")

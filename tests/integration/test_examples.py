"""examples/: the notebook runs from its first cell to its last on the synthetic images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_notebook_runs() -> None:
    """Its own assertions hold: accuracies counted by hand are the result's, and the leaking counters give 64.05."""
    pytest.importorskip("nbmake", reason="runs notebooks: pip install -e '.[examples]'")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbmake", "examples/four_models.ipynb"]
    environ = {**os.environ, "LIMIT": "8", "IMAGENET_DIR": "", "PYTHONPATH": str(ROOT)}

    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)

    assert 0 == run.returncode, run.stdout
    assert "1 passed" in run.stdout

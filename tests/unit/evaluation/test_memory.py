"""Tests of harness.evaluation.memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.evaluation.memory import reset_peak_memory

ROOT = Path(__file__).parents[3]
ON_GLIBC = platform.libc_ver()[0] == "glibc"


def _output(code: str) -> str:
    """Return what a new process prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)


def test_freed_memory_is_kept() -> None:
    """A block that was freed is used again: after a few rounds no page of a large tensor is mapped anew."""
    output = _output(
        "import resource, torch\n"
        "from harness.evaluation.memory import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    torch.ones(10_000_000)\n"  # 40 MB: more than glibc would keep by itself
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "given_back = min(faults() for _ in range(40))\n"
        "kept = keep_freed_memory()\n"
        "print(kept, given_back > 10 * (min(faults() for _ in range(40)) + 1))"
    )

    assert output == ("True True\n" if ON_GLIBC else "False False\n")


@pytest.mark.skipif(not ON_GLIBC, reason="only there memory that is kept can be given back")
def test_the_peak_is_that_since_the_reset() -> None:
    """A model's peak is not that of a larger one before it, though freed memory is kept."""
    output = _output(
        "import torch\n"
        "from harness.evaluation.memory import keep_freed_memory, peak_memory, reset_peak_memory\n"
        "cpu = torch.device('cpu')\n"
        "keep_freed_memory()\n"
        "def peak(megabytes):\n"
        "    reset_peak_memory(cpu)\n"
        "    torch.ones(megabytes * 250_000)\n"
        "    return peak_memory(cpu) / 1e6\n"
        "small, large, small_again = peak(10), peak(400), peak(10)\n"
        "print(350 < large - small < 450, abs(small_again - small) < 50)"
    )

    assert output == "True True\n"


def test_where_the_peak_cannot_be_reset_timing_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container that forbids it: a folder cannot be written to either."""
    monkeypatch.setattr("harness.evaluation.memory._CLEAR_REFS", tmp_path)

    reset_peak_memory(torch.device("cpu"))

    assert list(tmp_path.iterdir()) == []

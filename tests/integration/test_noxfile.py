"""``noxfile.py``: a session of its own for each pair of versions on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _sessions(*pairs: str) -> list[str]:
    """Return the sessions that nox finds."""
    pytest.importorskip("nox")
    program = [sys.executable, "-m", "nox", "--list-sessions", "--nocolor", "--", *pairs]
    shown = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line[2:].partition(" -> ")[0] for line in shown.splitlines() if line.startswith("- ")]


def test_each_pair_is_a_session() -> None:
    """Named by torch's version; what follows the pairs is no pair, also where it has a slash."""
    sessions = _sessions("2.9.1/0.24.1", "2.15.0.dev20261120/0.30.0.dev20261120", "--imagenet", "data/val")

    assert sessions == [
        "gate(2.9.1)",
        "gate(2.15.0.dev20261120)",
        "throughput(2.9.1)",
        "throughput(2.15.0.dev20261120)",
        "ab",
        "compare",
    ]


def test_without_pairs_the_sessions_are_there_to_say_so() -> None:
    """Rather than to be unknown to nox."""
    assert _sessions() == ["gate(none given)", "throughput(none given)", "ab", "compare"]

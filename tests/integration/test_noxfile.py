"""``noxfile.py``: a session of its own for each pair of versions on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "versions"),
    [
        # What follows the pairs is no pair, also where it has a slash.
        ("2.9.1/0.24.1 2.15.0.dev20261120/0.30.0.dev20261120 --imagenet data/val", ["2.9.1", "2.15.0.dev20261120"]),
        ("", ["none given"]),  # and the sessions are there to say so
    ],
)
def test_each_pair_is_a_session(arguments: str, versions: list[str]) -> None:
    """Named by torch's version."""
    pytest.importorskip("nox")
    program = [sys.executable, "-m", "nox", "--list-sessions", "--nocolor", "--", *arguments.split()]

    shown = subprocess.run(program, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout

    sessions = [line[2:].partition(" -> ")[0] for line in shown.splitlines() if line.startswith("- ")]
    pairs = [f"{name}({version})" for name in ("gate", "throughput") for version in versions]
    assert [*pairs, "ab", "compare"] == sessions

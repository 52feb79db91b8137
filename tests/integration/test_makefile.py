"""The Makefile: what a user gives it reaches the programs as it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["gate", "ranks", "faults"])
@pytest.mark.parametrize("given_as", ["environment", "argument"])
def test_the_datasets_path_is_no_shell_code(target: str, given_as: str) -> None:
    """A path with quotes, backquotes or dollars is passed on by the environment, not written into a command."""
    path = """/data/a"b'c`d`$(e)"""
    arguments = [f"IMAGENET_DIR={path}"] if given_as == "argument" else []
    environ = os.environ | ({"IMAGENET_DIR": path} if given_as == "environment" else {})

    run = subprocess.run(
        ["make", "-n", target, *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )

    assert '"${IMAGENET_DIR' in run.stdout
    assert "`d`" not in run.stdout

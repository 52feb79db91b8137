"""The Makefile: what a user gives it reaches the programs as it is."""

from __future__ import annotations

import os
import shlex
import subprocess
from importlib import metadata
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


@pytest.mark.parametrize("target", ["gate", "docs"])
def test_what_is_under_test_stays_as_it_is(target: str) -> None:
    """Pip is given the installed versions of torch, torchvision, numpy and Pillow as constraints."""
    shown = ["make", "-n", "--assume-new=pyproject.toml", target]

    shown_lines = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = shown_lines.replace("\\\n", " ").splitlines()

    installs = [shlex.split(line) for line in lines if " -m pip install " in line]
    [note] = [shlex.split(line) for line in lines if ".constraints" in line and " -m pip " not in line]
    *program, _, file = note
    versions = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert installs
    assert all(install[install.index("--constraint") + 1] == file for install in installs)
    assert versions == [f"{name}=={metadata.version(name)}" for name in ("torch", "torchvision", "numpy", "pillow")]


@pytest.mark.parametrize(
    ("target", "extras"), [("gate", ""), ("throughput", ""), ("test", "[examples,lite,nightly,parquet,test]")]
)
def test_the_gate_installs_what_it_needs(target: str, extras: str) -> None:
    """The project and what it depends on; tools where they are used."""
    shown = ["make", "-n", "--assume-new=pyproject.toml", target]

    lines = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True).stdout.replace("\\\n", " ")

    [install] = [shlex.split(line) for line in lines.splitlines() if " -m pip install " in line]
    assert f".{extras}" == install[-1]

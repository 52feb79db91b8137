"""The Makefile: what a user gives it reaches the programs as it is."""

from __future__ import annotations

import os
import shlex
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _commands(target: str, *arguments: str, **environ: str) -> str:
    """Return what make would run for a target."""
    command, variables = ["make", "-n", target, *arguments], os.environ | environ
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    return run.stdout.replace("\\\n", " ")


@pytest.mark.parametrize("target", ["gate", "ranks", "faults"])
@pytest.mark.parametrize("given_as", ["environment", "argument"])
def test_the_datasets_path_is_no_shell_code(target: str, given_as: str) -> None:
    """A path with quotes, backquotes or dollars is passed on by the environment, not written into a command."""
    path = """/data/a"b'c`d`$(e)"""

    if given_as == "argument":
        commands = _commands(target, f"IMAGENET_DIR={path}")
    else:
        commands = _commands(target, IMAGENET_DIR=path)

    assert '"${IMAGENET_DIR' in commands
    assert "`d`" not in commands


@pytest.mark.parametrize(
    ("target", "extras"),
    [("gate", ""), ("throughput", ""), ("test", "[examples,lite,nightly,parquet,test]"), ("docs", "[docs]")],
)
def test_what_is_installed(target: str, extras: str) -> None:
    """The project and what the target needs, while torch, torchvision, numpy and Pillow stay as they are."""
    lines = [shlex.split(line) for line in _commands(target, "--assume-new=pyproject.toml").splitlines()]

    installs = [words for words in lines if words[1:4] == ["-m", "pip", "install"]]
    [file] = {install[install.index("--constraint") + 1] for install in installs}
    assert f".{extras}" == installs[-1][-1]
    [constraints] = [words for words in lines if words[-2:] == [">", file]]
    versions = subprocess.run(constraints[:-2], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert versions == [f"{name}=={metadata.version(name)}" for name in ("torch", "torchvision", "numpy", "pillow")]

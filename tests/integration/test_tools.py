"""The Makefile, noxfile.py, action.yml and examples/: what a user gives them reaches the programs as it is."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def _shown(*command: str, **environ: str) -> str:
    """Run a program in the checkout, and return what it prints."""
    run = subprocess.run(command, cwd=ROOT, env=os.environ | environ, stdout=subprocess.PIPE, text=True)
    assert 0 == run.returncode, run.stdout
    return run.stdout


@pytest.mark.parametrize("target", ["gate", "ranks", "faults"])
@pytest.mark.parametrize("given_as", ["environment", "argument"])
def test_the_datasets_path_is_no_shell_code(target: str, given_as: str) -> None:
    """A path with quotes, backquotes or dollars is passed on by the environment, not written into a command."""
    path = """/data/a"b'c`d`$(e)"""
    arguments, environ = ([f"IMAGENET_DIR={path}"], {}) if given_as == "argument" else ([], {"IMAGENET_DIR": path})

    commands = _shown("make", "-n", target, *arguments, **environ)

    assert '"${IMAGENET_DIR' in commands
    assert "`d`" not in commands


@pytest.mark.parametrize(
    ("target", "extras"),
    [("gate", ""), ("throughput", ""), ("test", "[examples,lite,nightly,parquet,test]"), ("docs", "[docs]")],
)
def test_what_make_installs(target: str, extras: str) -> None:
    """The project and what the target needs, while torch, torchvision, numpy and Pillow stay as they are."""
    commands = _shown("make", "-n", target, "--assume-new=pyproject.toml").replace("\\\n", " ")

    lines = [shlex.split(line) for line in commands.splitlines()]
    installs = [words for words in lines if words[1:4] == ["-m", "pip", "install"]]
    [file] = {install[install.index("--constraint") + 1] for install in installs}
    assert f".{extras}" == installs[-1][-1]
    [constraints] = [words for words in lines if words[-2:] == [">", file]]
    versions = [f"{name}=={metadata.version(name)}" for name in ("torch", "torchvision", "numpy", "pillow")]
    assert versions == _shown(*constraints[:-2]).split()


@pytest.mark.parametrize(
    ("arguments", "versions"),
    [
        # What follows the pairs is no pair, also where it has a slash.
        ("2.9.1/0.24.1 2.15.0.dev20261120/0.30.0.dev20261120 --imagenet data/val", ["2.9.1", "2.15.0.dev20261120"]),
        ("", ["none given"]),  # and the sessions are there to say so
    ],
)
def test_each_pair_of_versions_is_a_session_of_nox(arguments: str, versions: list[str]) -> None:
    """Named by torch's version."""
    pytest.importorskip("nox")

    shown = _shown(sys.executable, "-m", "nox", "--list-sessions", "--nocolor", "--", *arguments.split())

    pairs = [f"{name}({version})" for name in ("gate", "throughput") for version in versions]
    assert [*pairs, "ab", "compare"] == re.findall(r"^- (.*?)(?: ->|$)", shown, re.MULTILINE)


@pytest.mark.slow
def test_the_notebook_runs() -> None:
    """Its own assertions hold: accuracies counted by hand are the result's, and the leaking counters give 64.05."""
    pytest.importorskip("nbmake", reason="runs notebooks: pip install -e '.[examples]'")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbmake", "examples/four_models.ipynb"]

    assert "1 passed" in _shown(*command, LIMIT="8", IMAGENET_DIR="", PYTHONPATH=str(ROOT))


# Installs nothing, and says what it would have; with the dataset "nothing" the gate passes at once.
PYTHON = """#!/usr/bin/env bash
if [ "$1 $2" = "-m pip" ]; then echo "$@" >>{log}; cat "${{@: -2:1}}" >>{log}
elif [ "$5" != nothing ]; then exec {python} "$@"; fi
"""


def run_action(folder: Path, **inputs: str) -> int:
    """Run the steps of action.yml as a runner of GitHub does, until one fails; return the exit status."""
    action: Any = yaml.safe_load((ROOT / "action.yml").read_text())
    given = {name: about["default"] for name, about in action["inputs"].items()} | inputs
    python = folder / "python"
    python.write_text(PYTHON.format(log=folder / "pip.log", python=shlex.quote(sys.executable)))
    python.chmod(0o755)
    summary = {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        own = {name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: given[m[1]], v) for name, v in step["env"].items()}
        assert "${{" not in step["run"] + "".join(own.values())
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **own, **summary}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        if status := subprocess.run(command, cwd=folder, env=environ, check=False).returncode:
            return status
    return 0


@pytest.mark.slow
def test_the_action(tmp_path: Path) -> None:
    """Passed, failed, and not started: exit status, summary, and what is left in the folder of results."""
    options = "--limit 32 -p no:cacheprovider -p no:imagenet-gate -p harness.early"
    inputs = {"python": str(tmp_path / "python"), "models": "alexnet", "options": options}
    expected = (ROOT / "expected_accuracy.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(expected.replace("acc@1: 64.0, acc@5: 94.8", "acc@1: 99, acc@5: 99"))

    passed = run_action(tmp_path, **inputs, imagenet="nothing")
    failed = run_action(tmp_path, **{**inputs, "options": f"{options} --expected wrong.yaml", "results": "red ones"})
    summary = (tmp_path / "summary.md").read_text()
    unstarted = run_action(tmp_path, **inputs, imagenet="no where", results="none")

    assert (0, 1, 4) == (passed, failed, unstarted)
    assert summary.startswith("### FAILED: 1 of 1 result: alexnet")
    assert {"run", "junit.xml", "summary.md"} == {path.name for path in (tmp_path / "red ones").iterdir()}
    installed, *constraints = (tmp_path / "pip.log").read_text().splitlines()[:3]
    assert installed.endswith(str(ROOT))
    assert constraints[0].startswith("torch==")

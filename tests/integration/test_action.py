"""action.yml: its two scripts, as a runner of GitHub starts them, and how they end."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Installs nothing, and says what it would have; with the dataset "nothing" the gate passes at once.
PYTHON = """#!/usr/bin/env bash
if [ "$1 $2" = "-m pip" ]; then echo "$@" >>{log}; cat "${{@: -2:1}}" >>{log}
elif [ "$5" != nothing ]; then exec {python} "$@"; fi
"""


def run_action(folder: Path, **inputs: str) -> int:
    """Run the steps as GitHub does, until one fails; return the exit status."""
    action: Any = yaml.safe_load((ROOT / "action.yml").read_text())
    given = {name: about["default"] for name, about in action["inputs"].items()} | inputs
    python = folder / "python"
    python.write_text(PYTHON.format(log=folder / "pip.log", python=shlex.quote(sys.executable)))
    python.chmod(0o755)
    github = {
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "OMP_NUM_THREADS": "1",
    }
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        environ = {
            name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: given[m[1]], v) for name, v in step["env"].items()
        }
        assert "${{" not in step["run"] + "".join(environ.values())
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **environ, **github}
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
    unstarted = run_action(tmp_path, **{**inputs, "imagenet": "no where", "results": "none"})

    assert (0, 1, 4) == (passed, failed, unstarted)
    assert summary.startswith("### FAILED: 1 of 1 result: alexnet")
    assert {"run", "junit.xml", "summary.md"} == {path.name for path in (tmp_path / "red ones").iterdir()}
    installed, *constraints = (tmp_path / "pip.log").read_text().splitlines()[:3]
    assert installed.endswith(str(ROOT))
    assert constraints[0].startswith("torch==")

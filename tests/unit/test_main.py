"""Tests of harness.cli.main: how it is run, and what is no command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.main import main


def test_module_can_be_run(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """``python -m harness`` passes the status on, and takes the file from the working folder if there is one."""
    (tmp_path / "expected_accuracy.yaml").write_text("[]")
    program = [sys.executable, "-m", "harness", "expected", "check"]
    this_checkout = {**os.environ, "PYTHONPATH": str(pytestconfig.rootpath)}

    result = subprocess.run(program, cwd=tmp_path, env=this_checkout, capture_output=True, text=True, check=False)

    actual = result.returncode, result.stdout, result.stderr
    keys = "schema_version, tolerance, datasets and models"
    expected = 2, "", f"error: expected_accuracy.yaml: expected a mapping with the keys {keys}\n"
    assert expected == actual


@pytest.mark.parametrize(
    "arguments", [[], ["expected"], ["store"], ["dataset"], ["expectd", "check"], ["expected", "check", "a", "b"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is missing, unknown or given too much is a usage error on stderr; exit status 2."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)

    output, errors = capsys.readouterr()
    assert stop.value.code == 2
    assert output == ""
    assert errors.startswith("usage: imagenet-gate")


def test_a_bug_of_the_harness_is_no_failed_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It keeps its traceback, and ends with 2: what reads the status must not take it for a verdict."""

    def fail(_path: Path) -> None:
        raise ZeroDivisionError("out of luck")

    monkeypatch.setattr("harness.cli.compare.read_run", fail)

    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("ZeroDivisionError: out of luck\n")

"""Tests of harness.cli.main: how it is run, and what is no command."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from harness.cli.main import main


def test_module_can_be_run(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """``python -m harness`` passes the status on, and takes the file from the working folder if there is one."""
    (tmp_path / "expected_accuracy.yaml").write_text("[]")
    program = [sys.executable, "-m", "harness", "expected", "check"]
    this_checkout = {**os.environ, "PYTHONPATH": str(pytestconfig.rootpath)}

    result = subprocess.run(program, cwd=tmp_path, env=this_checkout, capture_output=True, text=True, check=False)

    assert (2, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith("error: expected_accuracy.yaml: expected a mapping with the keys ")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("dataset x --workers=0", "expected a whole number above 0, found '0'"),
        ("dataset x --workers=²", "expected a whole number above 0, found '²'"),
        ("compare OLD", "give two runs, OLD and NEW, or more for a series, or else --old"),
        ("compare a b --fail-on=sped", "missing, or none; found 'sped'"),
        ("compare a b --max-slowdown=fast", "expected a percentage such as 5%, found 'fast'"),
        ("compare a b --max-slowdown=-1", "expected a percentage such as 5%, found '-1'"),
        ("merge '' --results all", "argument RUN: expected a folder, found nothing"),
        ("report run", "give -o FILE for a page, --markdown FILE, or both"),
        ("store prune", "give --older-than or --max-size, or both; without them nothing is removed"),
        ("store prune --max-size 3", "argument --max-size: expected a size such as 500MB or 50GB, found '3'"),
        ("store prune --older-than month", "argument --older-than: expected an age such as 12h, 30d or 8w, found 'm"),
    ],
)
def test_wrong_usage(command: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing, unknown, given too much or no such value is a usage error on stderr; exit status 2."""
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(command))

    output, errors = capsys.readouterr()
    assert (2, "") == (stop.value.code, output)
    assert errors.startswith("usage: imagenet-gate")
    assert sentence in errors


def test_the_options_of_run_are_the_gates(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its help shows those of all its plugins, and none of pytest's hundreds; what is wrong is said in its name."""
    monkeypatch.setenv("COLUMNS", "80")

    assert 0 == main(["run", "--help"])

    shown = capsys.readouterr().out
    options = ("--imagenet", "--limit", "--baseline", "--rank-timeout", "--batch-sizes", "--known-issues")
    assert [] == [option for option in options if f"  {option} " not in shown]
    assert "--pdb" not in shown
    assert "All other options are passed to pytest" in shown
    assert 4 == main(["run", "--nonsense"])
    assert capsys.readouterr().err.startswith("ERROR: usage: imagenet-gate run [options]")


def test_a_command_runs_in_any_thread(tmp_path: Path) -> None:
    """Only the main one can be interrupted by signals."""
    with ThreadPoolExecutor(1) as pool:
        assert 0 == pool.submit(main, ["store", "list", f"--store={tmp_path}"]).result()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    "command", ["expected check --one-that-nobody-knows --another-that-nobody-knows", "merge RUN --results DIR"]
)
def test_errors_fit_a_terminal(
    command: str, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What reads them from a pipe finds each in one line, as before."""
    monkeypatch.setattr("_pytest.capture.CaptureIO.isatty", lambda _: terminal, raising=False)
    monkeypatch.chdir(tmp_path)

    with suppress(SystemExit):
        main(shlex.split(command))

    *_, last = lines = capsys.readouterr().err.replace("usage: ", "").splitlines()
    assert terminal == (max(map(len, lines)) <= 80)
    assert terminal == last.startswith("  ")


def test_a_bug_ends_with_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It keeps its traceback: what reads the status must not take it for a verdict."""
    monkeypatch.setattr("harness.cli.compare.read_run", lambda _: 1 / 0)

    assert 2 == main(["compare", str(tmp_path), str(tmp_path)])
    assert capsys.readouterr().err.endswith("ZeroDivisionError: division by zero\n")

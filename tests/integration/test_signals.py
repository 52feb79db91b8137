"""Runs that a signal ends, in a process of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from harness.records.run_folder import read_run
from tests.colors import WNIDS
from tests.images import noise, save
from tests.integration.conftest import Gate, add_to_conftest, entry, expect

Run = Callable[..., pytest.RunResult]
KILL = "def kill(_=None):\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(0.1)\n"
FORWARD = "def pytest_imagenet_progress(phase):\n    if phase == 'forward':\n        kill()\n"


@pytest.fixture
def run(project: Path, pytester: pytest.Pytester) -> Run:
    """Run the gate in a process, with this code in its conftest.py, and with options."""

    def run_gate(code: str, *options: str) -> pytest.RunResult:
        add_to_conftest(project, f"\nimport os, signal, time\n{code}")
        command = ("-m", "pytest", "-m", "imagenet", "--imagenet=colors", *options)
        return pytester.run(sys.executable, *command, timeout=40)

    return run_gate


@pytest.mark.slow
def test_a_cancelled_job_keeps_the_earlier_run(gate: Gate, run: Run, project: Path) -> None:
    """SIGTERM ends as Ctrl-C does: the interrupted line alone, the earlier run as it was, nothing left behind."""
    gate("--imagenet=colors", "--results=run")
    before = {path.name: path.read_bytes() for path in (project / "run").iterdir() if path.is_file()}

    result = run(f"{KILL}{FORWARD}", "--results=run")

    assert pytest.ExitCode.INTERRUPTED == result.ret
    result.stdout.re_match_lines([r".*/conftest\.py:\d+: KeyboardInterrupt: ended by SIGTERM$"])
    assert before == {path.name: path.read_bytes() for path in (project / "run").iterdir() if path.is_file()}
    assert ["run"] == [path.name for path in project.iterdir() if path.name.startswith(("run", ".run"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill",
    [
        "class Deleted:\n    __del__ = kill\nkill = Deleted\n",  # nothing can be raised there
        "kill.__code__ = kill.__code__.replace(co_linetable=b'')\n",  # such as in an unpacked argument
    ],
    ids=["in a finalizer", "in no line"],
)
def test_a_signal_shows_no_traceback(kill: str, run: Run) -> None:
    """Wherever it comes, the run ends, and pytest can report that."""
    result = run(f"{KILL}{kill}{FORWARD}")

    assert pytest.ExitCode.INTERRUPTED == result.ret
    assert [] == [line for line in result.outlines + result.errlines if "Traceback" in line or "Error" in line]


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_what_does_not_end(number: str, run: Run, project: Path) -> None:
    """Where nothing comes of the interrupt, as in a long layer of a model, what was measured before is kept."""
    expect(project, {}, entry("second"))
    code = f"""
    def pytest_imagenet_progress(phase, case):
        try:
            if (phase, case) == ("forward", "second-V1-fp32"):
                os.kill(os.getpid(), signal.{number})
        except KeyboardInterrupt:
            time.sleep(60)
    """

    result = run(dedent(code), "--models=all", "--results=run")

    assert pytest.ExitCode.INTERRUPTED == result.ret
    assert f"ended by {number}; results: {project / 'run'}" == result.outlines[-1]
    record = read_run(project / "run").record
    assert (["nearest-V1-fp32"], ["second-V1-fp32"]) == (
        [case.id for case in record.cases],
        [case.id for case in record.missing_cases],
    )
    assert [] == list(project.glob("run.*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_a_run_that_ends_while_it_decodes_leaves_nothing_behind(number: str, project: Path) -> None:
    """Neither a decoding process nor pixels in the temporary folder."""
    original = save(noise(1, width=1500, height=1500), project / "colors" / WNIDS[0] / "many.JPEG")
    for copy in range(600):
        os.link(original, original.with_name(f"{copy}.JPEG"))
    (project / "temporary").mkdir()
    code = f"""
    import os, signal
    def pytest_imagenet_progress(phase, done):
        if phase == "decoding" and done:
            os.kill(os.getpid(), signal.{number})
    """
    add_to_conftest(project, code)
    command = [sys.executable, "-m", "pytest", "-m", "imagenet", "--imagenet=colors", "--workers=1", "--no-store"]
    environ = {**os.environ, "TMPDIR": str(project / "temporary")}

    run = subprocess.Popen(command, cwd=project, env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True)

    output, _ = run.communicate(timeout=40)
    assert run.returncode == {"SIGKILL": -signal.SIGKILL, "SIGTERM": pytest.ExitCode.INTERRUPTED}[number], output
    deadline = time.monotonic() + 20
    while group_exists(run.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    left = [path.name for path in (project / "temporary").iterdir()]
    assert [] == [name for name in left if not name.startswith("torchinductor_")]  # which torch keeps


def group_exists(leader: int) -> bool:
    """Return whether the leader, or a process that it started, still exists."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True

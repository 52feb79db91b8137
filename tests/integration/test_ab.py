"""``imagenet-gate ab``: two environments timed alternately, here interpreters that only write what they are given."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.ab.rounds import measured
from harness.bisect.versions import Package
from harness.cli.main import main
from harness.records.results import BENCHMARK_KEY, Missing, plain
from tests.records import case_result, run_record, timing_result, write_run

MODELS = ("alexnet", "resnet18")
ALEXNET = timing_result("alexnet").id
# Its arguments go to a file beside it, and each run is a minute later than the one before, of either interpreter.
INTERPRETER = """#!{python}
import json, os, pathlib, shutil, signal, sys, time
here, name = pathlib.Path({folder!r}), {name!r}
with (here / "calls.txt").open("a") as calls:
    print(name, *sys.argv[1:], file=calls)
number = len((here / "calls.txt").read_text().splitlines())
if name == "silent":
    sys.exit(0)
if name == "cancelled":
    for results in (arg.partition("=")[2] for arg in sys.argv if arg.startswith("--results=")):
        shutil.copytree(here / "incomplete", results)
    if number < 3:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
run = json.loads((here / name).with_suffix(".json").read_text())
run[{key!r}]["created"] = f"2026-11-24T20:{{number:02}}:00+00:00"
for benchmark, scale in zip(run["benchmarks"], {scales!r}):
    benchmark["stats"]["data"] = [scale * (1 + 0.001 * (number * 7% 5))] * 9
[file] = [arg.partition("=")[2] for arg in sys.argv if arg.startswith("--benchmark-json=")]
pathlib.Path(file).write_text(json.dumps(run))
sys.exit("Traceback\\nERROR: one failed" if name == "failing" else 0)
"""


def _interpreter(
    folder: Path, name: str, scales: tuple[float, ...] = (1.0, 1.0), torch: str = "2.9.1", **known: Any
) -> str:
    """Write a program that takes the place of an interpreter, whose models take these times, and what is ``known``."""
    timings = [timing_result(model, [1.0] * 9, **{"peak_memory": None, **known}) for model in MODELS]
    benchmarks = [{"extra_info": timing.info(), "stats": {"data": list(timing.seconds)}} for timing in timings]
    record = plain(run_record([], torch=torch))
    (folder / f"{name}.json").write_text(json.dumps({BENCHMARK_KEY: record, "benchmarks": benchmarks}))
    program = folder / name
    values = {"python": sys.executable, "folder": str(folder), "name": name, "key": BENCHMARK_KEY, "scales": scales}
    program.write_text(INTERPRETER.format(**values))
    program.chmod(0o755)
    return str(program)


def test_a_slower_environment_fails_once_all_is_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After five rounds in turns, each in a new process; the other case is ruled out to be slower."""
    old, new = _interpreter(tmp_path, "old"), _interpreter(tmp_path, "new", (1.1, 1.0), torch="2.14.1")
    options = ["--models", "alexnet,resnet18", "--keep", str(tmp_path / "kept"), "--", "tests", "--keep=pytest's"]

    status = main(["ab", old, new, *options])

    assert 1 == status
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert ["old", "new", "new", "old", "old", "new", "new", "old", "old", "new"] == [call[:3] for call in calls]
    first = f"old -m harness run -m throughput --benchmark-json={tmp_path}/kept/old-01.json --models alexnet,resnet18"
    assert f"{first} tests --keep=pytest's" == calls[0]
    lines = capsys.readouterr().out.splitlines()
    assert ["round 1 of at most 10", "round 5 of at most 10"] == [lines[at].partition(",")[0] for at in (0, 4)]
    assert lines[4].endswith(": 0 cases not decided")
    alexnet, resnet18 = (line for line in lines if line.startswith(("alexnet ", "resnet18 ")))
    assert [] == [line for line in lines[1:] if len(line) > 80 and str(tmp_path) not in line]
    assert ("1.100", "slower") == (alexnet.split()[3], alexnet.split()[-1])
    assert resnet18.endswith("  0 of 10  not significant")
    assert lines[-2] == "FAILED: 1 of 2 timings"
    assert "torch  2.9.1" in "\n".join(lines)
    # The files are those of imagenet-gate compare, which says where the runs were not made in turns.
    olds, news = (sorted(map(str, (tmp_path / "kept").glob(f"{side}-*.json"))) for side in ("old", "new"))
    apart = "all runs of one side were made before the other's"
    assert 0 == main(["compare", "--old", *olds, "--new", *news, "--max-slowdown=12%"])
    assert apart not in capsys.readouterr().out
    for first, second in (("--old", "--new"), ("--new", "--old")):
        assert 1 == main(["compare", first, *olds[:2], second, *news[3:], "--max-slowdown=2%", "--strict-speed"])
        assert apart in capsys.readouterr().out


@pytest.mark.parametrize(("strict", "status"), [([], 0), (["--strict-speed"], 1)])
def test_what_is_not_decided_is_said_after_each_look_and_in_the_end(
    strict: list[str], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither passed nor failed; with ``--strict-speed`` failed."""
    pythons = [_interpreter(tmp_path, name) for name in ("old", "new")]
    options = ["--rounds=6", "--max-slowdown=0.01%", "--markdown", str(tmp_path / "it.md")]

    assert status == main(["ab", *options, *strict, *pythons])

    lines = capsys.readouterr().out.splitlines()
    assert 6 == sum(line.startswith("round ") for line in lines)
    assert lines[0].endswith(": next check after round 5")
    assert lines[5].partition(": ")[2].startswith(f"2 cases not decided: {ALEXNET} (")
    assert any(line.endswith("; 2 of 2 timings not decided") for line in lines)
    assert "not decided" in (tmp_path / "it.md").read_text().splitlines()[0]


def test_memory_and_the_time_to_compile_are_judged_by_the_same_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By pairs of processes; each has a limit of its own, and a table."""
    old = _interpreter(tmp_path, "old", peak_memory=1_000, compile_seconds=10.0)
    new = _interpreter(tmp_path, "new", peak_memory=1_200, compile_seconds=20.0)

    assert 1 == main(["ab", old, new])
    lines = capsys.readouterr().out.splitlines()
    assert 0 == main(["ab", "--max-memory=25%", "--fail-on=speed,memory", old, new])

    assert lines[4].endswith(": 0 cases not decided")
    assert "FAILED: 2 of 2 timings" in lines
    shown = "\n".join(lines).replace("\n ", "")
    assert f"{ALEXNET}: takes +20.0 to +20.0% more memory, allowed 10%" in shown
    assert f"{ALEXNET}: takes +100.0 to +100.0% longer to compile, allowed" in shown
    assert ["speed", "memory", "compile"] == [line.split()[0] for line in lines if line.endswith("verdict")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["OLD", "SILENT"], "silent -m harness run .*: expected exit status 0 and a JSON file, found status 0; "),
        (["OLD", "FAILING"], "found status 1; its last lines:\nTraceback\nERROR: one failed"),
        (["--models", "x", "OLD", "OLD"], "executable files, before pytest's options, found 'x'\n"),
        (["--rounds", "4", "OLD", "OLD"], "argument --rounds: expected 5 or more, found 4"),
    ],
)
def test_what_is_an_error(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and what to do; a process that fails shows its last lines."""
    programs = {name.upper(): _interpreter(tmp_path, name) for name in ("old", "silent", "failing")}

    try:
        status = main(["ab", *(programs.get(argument, argument) for argument in arguments)])
    except SystemExit as error:
        status = int(str(error.code))

    assert 2 == status
    assert re.search(message, capsys.readouterr().err)


def test_a_signal_ends_the_child_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of ab and of bisect; the same command of the latter goes on, and takes no run that was cut short for whole."""
    cancelled = _interpreter(tmp_path, "cancelled")
    write_run(tmp_path / "incomplete", run_record([case_result(), Missing("alexnet-IMAGENET1K_V1-fp32")]))
    monkeypatch.setattr(sys, "executable", cancelled)
    monkeypatch.setattr(Package, "versions", lambda *_: ["1", "2"])
    monkeypatch.setattr(Package, "install", lambda *_: tmp_path)
    bisect = ["bisect", "--package=p", "--good=1", "--bad=2", f"--environments={tmp_path / 'kept'}"]

    def callers(*_: object) -> None:
        pytest.fail("the signal did not interrupt the command")

    before = signal.signal(signal.SIGTERM, callers)
    try:
        statuses = [main(command) for command in (["ab", cancelled, cancelled], bisect)]
        handler = signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert ([130, 130], callers) == (statuses, handler)
    assert [
        "interrupted by SIGTERM; only --keep DIR keeps what was measured",
        "1: installing it if needed, then evaluating",
        "interrupted by SIGTERM; the same command resumes the search",
    ] == capsys.readouterr().err.splitlines()
    write_run(tmp_path / "incomplete", run_record([case_result()]))
    assert 1 == main(bisect)
    assert "p 2 changes nothing compared with 1" in capsys.readouterr().out
    assert 4 == len((tmp_path / "calls.txt").read_text().splitlines())


@pytest.mark.slow
def test_a_real_round_times_the_models_of_this_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of this harness, from another folder's environment."""
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    options = ["--models=squeezenet1_1", "--batch-sizes=1", "--benchmark-max-time=0.05", f"--rootdir={os.getcwd()}"]

    [(old, new)] = list(measured((sys.executable, sys.executable), options, 1, tmp_path))

    assert [["squeezenet1_1-IMAGENET1K_V1-fp32-b1"]] * 2 == [
        [timing.id for timing in run.record.timings] for run in (*old, *new)
    ]

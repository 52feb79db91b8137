"""Tests of harness.commands.merge."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.__main__ import main
from harness.commands import merge
from harness.reporting.record import Unmeasured
from harness.reporting.run_folder import read_run
from tests.records import FAILED, case_record, run_record, timing_record, write_run

RESNET, VGG = case_record("resnet18"), case_record("vgg16", np.arange(1000) < 702)


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_the_tables_are_those_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accuracy with its ties, speed, and where the run is; the runs stay."""
    write_run(Path("a"), run_record([RESNET], [timing_record(seconds=(0.5, 0.5))]))
    write_run(Path("b"), run_record([VGG, case_record("alexnet", np.arange(1000) < 600)]))

    status = main(["merge", "a", "b", "--results", "all"])

    output, errors = capsys.readouterr()
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "accuracy in percent: imagenet-1k, 1,000 images",
        "   model     weights         top-1  expected  diff   top-5  expected  diff  params  GFLOPs  images/s  verdict",
        "   vgg16     IMAGENET1K_V1  70.200         -     -  90.000         -     -   11.7M    1.81     1,234  held",
        "~  resnet18  IMAGENET1K_V1  70.000         -     -  90.000         -     -   11.7M    1.81     1,234  held",
        "   alexnet   IMAGENET1K_V1  60.000         -     -  90.000         -     -   11.7M    1.81     1,234  held",
        "~ not significantly different from the row above on the same images (top-1, exact McNemar test, p >= 0.05)",
        "throughput: forward alone, images on the device, seeded weights",
        "timing                           images/s  ms a call  spread  calls  GFLOPs  TFLOP/s  of peak   memory",
        "resnet18-IMAGENET1K_V1-fp32-b32      64.0     500.00   0.0 %      2    1.81    0.232     46 %  1.25 GB",
        "images/s from the median call; spread: interquartile range over median; peak: 0.500 TFLOP/s in fp32 by a "
        "product of large matrices",
        f"results: {tmp_path}/all",
    ]
    assert _names() == ["a", "all", "b"]
    assert [case.id for case in read_run(Path("all")).record.cases] == [
        RESNET.id,
        VGG.id,
        "alexnet-IMAGENET1K_V1-fp32",
    ]


@pytest.mark.parametrize(
    ("cases", "timings", "titles"),
    [
        ([RESNET], [], ["accuracy in percent: imagenet-1k, 1,000 images"]),
        ([], [timing_record()], ["throughput: forward alone, images on the device, seeded weights"]),
    ],
)
def test_what_was_not_due_has_no_title(
    cases: list[Any], timings: list[Any], titles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither accuracy where speed alone was measured, nor the other way round."""
    write_run(Path("a"), run_record(cases, timings))

    main(["merge", "a", "--results", "all"])

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("accuracy", "throughput"))] == titles


def test_cases_that_were_paired_show_with_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The pairing with a baseline is not lost."""
    paired: dict[str, Any] = {
        **dict.fromkeys(("changed", "real", "lost", "gained", "top5_changed"), 3),
        "p": 1.0,
        "drift": None,
        "floor": {"largest": 0.5},
    }
    write_run(Path("a"), run_record([case_record(paired=paired)]))

    main(["merge", "a", "--results", "all"])

    output = capsys.readouterr().out.splitlines()
    assert (
        "resnet18-IMAGENET1K_V1-fp32        3     3     3       3  1      3              -     -        -  5e-01"
        in output
    )


def test_why_there_are_no_values_stands_above_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback does, as in the run that had it; a table whose cases all lack values has no title of a split."""
    cases = [Unmeasured(RESNET.id, "error", "no weights"), Unmeasured(VGG.id)]
    write_run(Path("a"), run_record(cases, [Unmeasured("vgg16-b32", "error", "no room")]))

    status = main(["merge", "a", "--results", "all"])

    assert status == 1
    assert capsys.readouterr().out.splitlines() == [
        f"error: {RESNET.id}: no weights",
        "error: vgg16-b32: no room",
        "accuracy in percent: nothing was evaluated",
        f"  {RESNET.id}: ERROR, no values (the reason stands above)",
        f"  {VGG.id}: not run",
        "throughput: forward alone, images on the device, seeded weights",
        "  vgg16-b32: ERROR, no values (the reason stands above)",
        f"results: {tmp_path}/all",
    ]


@pytest.mark.parametrize(
    ("cases", "timings", "status"),
    [
        ([RESNET], [timing_record()], 0),
        ([RESNET, case_record("alexnet", verdict=FAILED)], [], 1),
        ([RESNET, Unmeasured("alexnet-fp32", "error")], [], 1),
        ([RESNET, Unmeasured("alexnet-fp32")], [], 1),
        ([RESNET], [Unmeasured("alexnet-b32", "error")], 1),
        ([], [timing_record()], 0),
    ],
)
def test_the_status_is_the_gates_verdict_on_all_runs(cases: list[Any], timings: list[Any], status: int) -> None:
    """1 where a case did not hold or a result has no values, else 0; the run is written all the same."""
    write_run(Path("a"), run_record([VGG]))
    write_run(Path("b"), run_record(cases, timings))

    assert main(["merge", "a", "b", "--results", "all"]) == status
    assert len(read_run(Path("all")).record.cases) == 1 + len(cases)


def test_an_earlier_run_is_replaced() -> None:
    """As by the gate: what was in it is gone."""
    write_run(Path("a"), run_record([RESNET]))
    write_run(Path("all"), run_record([VGG]))

    assert main(["merge", "a", "--results", "all"]) == 0
    assert [case.id for case in read_run(Path("all")).record.cases] == [RESNET.id]
    assert [path.name for path in Path("all", "predictions").iterdir()] == [f"{RESNET.id}.npz"]


@pytest.mark.parametrize("results", ["a", "./b/../a", "link", "a/all"])
def test_the_runs_are_not_replaced(results: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However the folder is named, and not written into."""
    write_run(Path("a"), run_record([RESNET]))
    write_run(Path("b"), run_record([VGG]))
    Path("link").symlink_to("a")
    before = sorted(tmp_path.rglob("*"))

    status = main(["merge", "b", "a", "--results", results])

    assert (status, *capsys.readouterr()) == (
        2,
        "",
        f"error: --results {Path(results)}: expected another folder than those of the runs, found a\n",
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_that_are_refused_leave_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence on stderr, status 2, nothing on stdout, and no folder, not even above that of the run."""
    write_run(Path("a"), run_record([RESNET]))
    write_run(Path("b"), run_record([VGG], torch="2.14.1"))

    status = main(["merge", "a", "b", "--results", "new/all"])

    sentence = (
        "a and b were made in different environments: torch 2.9.1 and 2.14.1; such runs are compared, not merged: "
        "python -m harness compare a b"
    )
    assert (status, *capsys.readouterr()) == (2, "", f"error: {sentence}\n")
    assert _names() == ["a", "b"]


def test_a_run_with_damaged_files_leaves_the_earlier_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What is found only while it is written is told, and nothing of the new run is left."""
    write_run(Path("a"), run_record([RESNET]))
    write_run(Path("all"), run_record([VGG]))
    shutil.rmtree(Path("a", "inputs"))

    status = main(["merge", "a", "--results", "all"])

    assert status == 2
    assert "missing, though record.json tells of it; the run is not whole" in capsys.readouterr().err
    assert _names() == ["a", "all"]
    assert [case.id for case in read_run(Path("all")).record.cases] == [VGG.id]


def test_an_interrupt_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 130, and no folder of a run that is half written."""
    write_run(Path("a"), run_record([RESNET]))

    def interrupt(_merged: object, staging: Path) -> None:
        assert staging.is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(merge, "write_files", interrupt)

    assert main(["merge", "a", "--results", "all"]) == 130
    assert _names() == ["a"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--results", "all"], "the following arguments are required: RUN"),
        (["a"], "the following arguments are required: --results"),
        (["", "--results", "all"], "argument RUN: expected a folder, found nothing"),
    ],
)
def test_wrong_usage(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Told in a line, with status 2."""
    with pytest.raises(SystemExit) as stop:
        main(["merge", *arguments])

    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


def test_merging_needs_no_torch(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The login node of a cluster need not have it."""
    write_run(Path("a"), run_record([RESNET]))
    write_run(Path("b"), run_record([VGG]))
    Path("torch.py").write_text("raise ImportError('torch was imported while merging')")

    result = subprocess.run(
        [sys.executable, "-m", "harness", "merge", "a", "b", "--results", "all"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{pytestconfig.rootpath}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert f"results: {tmp_path}/all" in result.stdout.splitlines()

"""Tests of harness.cli.merge."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.cli import merge
from harness.cli.main import main
from harness.records.results import CaseResult, Missing
from harness.records.run_folder import read_run
from tests.records import case_result, expected, run_record, timing_result, write_run

RESNET, VGG = case_result("resnet18"), case_result("vgg16", (1000, 702, 900))
FAILED = case_result("alexnet", expected=expected(1000, 600, 900))


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_the_tables_are_those_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accuracy with ranks, speed, and the path of the run; the merged runs stay."""
    write_run(Path("a"), run_record([RESNET], [timing_result(seconds=(0.5, 0.5))]))
    write_run(Path("b"), run_record([VGG, case_result("alexnet", (1000, 600, 900))]))

    status = main(["merge", "a", "b", "--results", "all"])

    output, errors = capsys.readouterr()
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert [line.split()[:2] for line in lines[2:5]] == [["1-2", "vgg16"], ["1-2", "resnet18"], ["3", "alexnet"]]
    assert [line for line in lines if line.startswith(("accuracy", "throughput", "results"))] == [
        "accuracy in percent: imagenet-1k, 1,000 images",
        "throughput: forward alone, images on the device, seeded weights",
        f"results: {tmp_path}/all",
    ]
    assert ["a", "all", "b"] == _names()
    cases = [case.id for case in read_run(Path("all")).record.cases]
    assert [RESNET.id, VGG.id, "alexnet-IMAGENET1K_V1-fp32"] == cases


def test_the_reason_for_a_missing_result_is_above_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a traceback, which only the run that failed has."""
    cases: list[CaseResult | Missing] = [RESNET, Missing("alexnet-fp32", "error", "no weights"), Missing(VGG.id)]
    write_run(Path("a"), run_record(cases, [Missing("vgg16-b32", "error", "no room")]))

    status = main(["merge", "a", "--results", "all"])

    lines = capsys.readouterr().out.splitlines()
    assert 1 == status
    assert ["error: alexnet-fp32: no weights", "error: vgg16-b32: no room"] == lines[:2]
    assert f"  {VGG.id}: not run" in lines
    assert f"results: {tmp_path}/all" == lines[-1]


@pytest.mark.parametrize(
    ("cases", "timings", "status"),
    [
        ([RESNET], [timing_result()], 0),
        ([RESNET, FAILED], [], 1),
        ([RESNET, Missing("alexnet-fp32", "error")], [], 1),
        ([RESNET, Missing("alexnet-fp32")], [], 1),
        ([RESNET], [Missing("alexnet-b32", "error")], 1),
        ([], [timing_result()], 0),
    ],
)
def test_the_status_is_that_of_all_runs(cases: list[Any], timings: list[Any], status: int) -> None:
    """1 where a case failed or a test has no result, else 0; the run is written all the same."""
    write_run(Path("a"), run_record([VGG]))
    write_run(Path("b"), run_record(cases, timings))

    assert main(["merge", "a", "b", "--results", "all"]) == status
    record = read_run(Path("all")).record
    assert len(cases) + 1 == len(record.cases) + len(record.missing_cases)


@pytest.mark.parametrize("results", ["a", "./b/../a", "link", "a/all"])
def test_the_merged_runs_are_not_replaced(results: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_an_error_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence on stderr, status 2, nothing on stdout, and no folder."""
    write_run(Path("a"), run_record([RESNET]))
    write_run(Path("b"), run_record([VGG], torch="2.14.1"))

    status = main(["merge", "a", "b", "--results", "all"])

    sentence = (
        "a and b were made in different environments: torch 2.9.1 and 2.14.1; compare them instead: "
        "imagenet-gate compare a b"
    )
    assert (status, *capsys.readouterr()) == (2, "", f"error: {sentence}\n")
    assert _names() == ["a", "b"]


def test_a_run_with_damaged_files_leaves_the_earlier_one(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that is found only while the run is written leaves nothing of it."""
    write_run(Path("a"), run_record([RESNET]))
    write_run(Path("all"), run_record([VGG]))
    shutil.rmtree(Path("a", "inputs"))

    status = main(["merge", "a", "--results", "all"])

    assert status == 2
    assert "missing, though record.json refers to it; the run is incomplete" in capsys.readouterr().err
    assert _names() == ["a", "all"]
    assert [case.id for case in read_run(Path("all")).record.cases] == [VGG.id]


def test_an_interrupt_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 130, and no folder of a run that is half written."""
    write_run(Path("a"), run_record([RESNET]))

    def interrupt(_merged: object, staging: Path) -> None:
        assert staging.is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(merge, "merge", interrupt)

    assert main(["merge", "a", "--results", "all"]) == 130
    assert _names() == ["a"]

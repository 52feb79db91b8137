"""Tests of ``imagenet-gate merge``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.cli import merge
from harness.records.results import Missing
from harness.records.run_folder import read_run
from tests.records import case_result, expected, run_record, timing_result, write_run
from tests.unit.cli.conftest import CommandLine

RESNET, VGG = case_result("resnet18"), case_result("vgg16", (1000, 702, 900))
ALEXNET = case_result("alexnet", (1000, 600, 900))
FAILED = case_result("alexnet", expected=expected(1000, 600, 900))


@pytest.fixture
def runs(cli: CommandLine) -> CommandLine:
    """The command line, where ``a`` is a run of ResNet18 and ``b`` of VGG16."""
    write_run(Path("a"), run_record([RESNET], [timing_result(seconds=(0.5, 0.5))]))
    write_run(Path("b"), run_record([VGG, ALEXNET]))
    return cli


def _names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def _cases(folder: str) -> list[str]:
    return [case.id for case in read_run(Path(folder)).record.cases]


def test_the_tables_are_those_of_one_run(runs: CommandLine, tmp_path: Path) -> None:
    """Accuracy with ranks, speed, and the path of the run; the merged runs stay."""
    status, out, err = runs("merge", "a", "b", "--results", "all")

    lines = out.splitlines()
    assert (0, "") == (status, err)
    assert [["1-2", "vgg16"], ["1-2", "resnet18"], ["3", "alexnet"]] == [line.split()[:2] for line in lines[2:5]]
    assert [
        "accuracy in percent: imagenet-1k, 1,000 images",
        "throughput: forward alone, images on the device, seeded weights",
        f"results: {tmp_path}/all",
    ] == [line for line in lines if line.startswith(("accuracy", "throughput", "results"))]
    assert ["a", "all", "b"] == _names()
    assert [RESNET.id, VGG.id, ALEXNET.id] == _cases("all")


def test_the_reason_for_a_missing_result_is_above_the_tables(cli: CommandLine, tmp_path: Path) -> None:
    """Without a traceback, which only the run that failed has."""
    lost = Missing("alexnet-fp32", "error", "no weights")
    write_run(Path("a"), run_record([RESNET, lost, Missing(VGG.id)], [Missing("vgg16-b32", "error", "no room")]))

    found = cli("merge", "a", "--results", "all")

    assert ["error: alexnet-fp32: no weights", "error: vgg16-b32: no room"] == found.lines[:2]
    assert f"  {VGG.id}: not run" in found.lines
    assert (1, f"results: {tmp_path}/all") == (found.status, found.lines[-1])


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
def test_the_status_is_that_of_all_runs(cases: list[Any], timings: list[Any], status: int, cli: CommandLine) -> None:
    """1 where a case failed or a test has no result, else 0; the run is written all the same."""
    write_run(Path("a"), run_record([VGG]))
    write_run(Path("b"), run_record(cases, timings))

    assert status == cli("merge", "a", "b", "--results", "all").status
    record = read_run(Path("all")).record
    assert len(cases) + 1 == len(record.cases) + len(record.missing_cases)


@pytest.mark.parametrize("results", ["a", "./b/../a", "link", "a/all"])
def test_the_merged_runs_are_not_replaced(results: str, runs: CommandLine) -> None:
    """However the folder is named, and not written into."""
    Path("link").symlink_to("a")
    before = sorted(Path().rglob("*"))

    found = runs("merge", "b", "a", "--results", results)

    where = f"--results {Path(results)}"
    assert (2, "", f"error: {where}: expected another folder than those of the runs, found a\n") == found
    assert before == sorted(Path().rglob("*"))


def test_a_run_with_damaged_files_leaves_the_earlier_one(runs: CommandLine) -> None:
    """An error that is found only while the run is written leaves nothing of it."""
    shutil.rmtree("a/inputs")

    status, _, err = runs("merge", "a", "--results", "b")

    assert 2 == status
    assert "missing, though record.json refers to it; the run is incomplete" in err
    assert ["a", "b"] == _names()
    assert [VGG.id, ALEXNET.id] == _cases("b")


def test_an_interrupt_leaves_nothing(runs: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One word, status 130 as shells have it, and no folder of a run that is half written."""

    def interrupt(_merged: object, staging: Path) -> None:
        assert staging.is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(merge, "merge", interrupt)

    assert (130, "", "interrupted\n") == runs("merge", "a", "--results", "all")
    assert ["a", "b"] == _names()

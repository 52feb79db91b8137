"""Tests of harness.report.report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.compare.compare import FAILURES
from harness.errors import RecordError
from harness.records.results import Record
from harness.records.run_folder import Run
from harness.records.speed import Limits
from harness.report.report import Judging, Report, report_on, report_sections
from tests.records import case_result, expected, run_record, timing_result, write_run

FEWER = case_result(counts=(1000, 690, 900), expected=expected(50_000, 35_000, 45_000))


def _report(runs: list[Run], against: Run | None = None, fail_on: tuple[str, ...] = FAILURES) -> Report:
    return report_on(runs, against, Judging(fail_on))


def _titles(report: Report) -> list[str]:
    return [section.title for section in report_sections(report) if section.title]


def _run(path: str, record: Record) -> Run:
    return Run(Path(path), record)


def test_one_run_is_told_by_itself() -> None:
    """Its verdict, its environment as it is, its cases and timings."""
    report = _report([_run("new", run_record([case_result()], [timing_result()], cuda=None))])

    assert _titles(report) == [
        "PASSED: 1 case and 1 timing on imagenet-1k, 1,000 images, torch 2.9.1",
        "environment",
        "accuracy in percent: imagenet-1k, 1,000 images",
        "throughput: forward alone, images on the device, seeded weights",
    ]
    environment = report_sections(report)[1].table
    assert environment is not None
    assert ["torch", "2.9.1"] in list(environment.rows)
    assert "cuda" not in [row[0] for row in environment.rows]


def test_two_runs_are_compared() -> None:
    """What differs between the environments, and what fails."""
    old, new = run_record([case_result()]), run_record([FEWER], torch="2.14.1")

    report = _report([_run("old", old), _run("new", new)])

    why = "resnet18-IMAGENET1K_V1-fp32: top-1 differs by -1.000 points, tolerance ±0.05"
    assert report.headline.sentence == f"FAILED: 1 of 1 result: {why}"
    assert report_sections(report)[0].lines == (why,)
    assert _titles(report)[1:] == [
        "old against new",
        "accuracy in percent: imagenet-1k, 1,000 images",
        "accuracy on imagenet-1k, 1,000 images: correct in the new run, and the difference from the old",
    ]
    assert _report([_run("old", old), _run("new", new)], fail_on=()).headline.outcome == "passed"


def test_another_run_than_the_one_before_can_be_compared_with() -> None:
    """As the last good one; the others are the series."""
    good, bad = run_record([case_result()]), run_record([FEWER])
    runs = [_run("1", good), _run("2", bad), _run("3", bad)]

    assert _report(runs).headline.outcome == "passed"
    report = _report(runs, _run("good", good))
    assert report.headline.outcome == "failed"
    assert _titles(report)[1] == "good against 3"
    assert "3 runs" in _titles(report)


def test_ranks_are_found_where_there_are_predictions(tmp_path: Path) -> None:
    """A run that is read from its folder tells which models can be told apart; its JSON alone does not know."""
    run = write_run(tmp_path / "run", run_record([case_result("vgg16"), case_result("resnet18")]))

    def marks(run: Run) -> list[str]:
        table = report_sections(_report([run]))[2].table
        assert table is not None
        return [row[0] for row in table.rows]

    assert marks(run) == ["1-2", "1-2"]
    assert marks(Run(tmp_path / "run" / "record.json", run.record)) == ["", ""]


def test_runs_of_different_images_are_refused() -> None:
    """Also where they are not neighbours."""
    runs = [_run(name, run_record([case_result()])) for name in "abc"]
    assert runs[0].record.dataset is not None
    other = msgspec.structs.replace(runs[0].record.dataset, digest="0ther")
    runs[0] = _run("a", msgspec.structs.replace(runs[0].record, dataset=other))

    with pytest.raises(RecordError, match=r"^a and b evaluated different images and cannot be compared"):
        _report(runs)


def test_speed_that_was_not_compared_is_told_in_the_verdict() -> None:
    """Since the hardware differs."""
    old, new = run_record([], [timing_result()]), run_record([], [timing_result()], device="NVIDIA A100")

    assert _report([_run("old", old), _run("new", new)]).headline.sentence.endswith("; speed was not compared")


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({}, []),
        ({"fail_on": FAILURES[::-1]}, []),
        ({"strict_drift": True}, ["--strict-drift"]),
        ({"fail_on": ()}, ["--fail-on=none"]),
        (
            {"fail_on": ("speed",), "limits": Limits(0.125, 0.1, 0.5), "noise": 0.15},
            ["--fail-on=speed", "--max-slowdown=12.5%", "--max-compile-time=50%", "--noise=15%"],
        ),
    ],
)
def test_what_it_was_judged_by_is_kept(given: dict[str, Any], arguments: list[str]) -> None:
    """As options of compare, so that it comes to the same verdict."""
    assert arguments == Judging(**given).arguments()

"""Tests of imagenet-gate export: what dashboards read of a run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.cli.main import main
from harness.records.results import Missing
from tests.records import case_result, run_record, timing_result, write_run

CASE = case_result("resnet18", (1000, 700, 900), images_per_second=50.0)
TIMING = timing_result("alexnet", [0.25, 0.5, 0.125], precision="bf16", compiled=True)
OTHER = timing_result("vgg16", [0.5], peak_memory=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of one case and two timings, of which one has no peak of memory."""
    return write_run(tmp_path / "run", run_record([CASE], [TIMING, OTHER])).path


def exported(folder: Path, form: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    """Return what the command prints."""
    assert status == main(["export", str(folder), "--format", form])
    return capsys.readouterr().out


def test_the_benchmark_database_of_pytorch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each object has what its uploader asks for, a metric with values; maps of details hold text."""
    records: list[dict[str, Any]] = json.loads(exported(folder, "hud-v3", capsys))

    assert [
        ("resnet18", "fp32", "eager", "top-1", [70.0]),
        ("resnet18", "fp32", "eager", "top-5", [90.0]),
        ("resnet18", "fp32", "eager", "images_per_second", [50.0]),
        ("alexnet", "bf16", "inductor", "images_per_second", [128.0, 64.0, 256.0]),
        ("alexnet", "bf16", "inductor", "peak_memory", [1.25e9]),
        ("vgg16", "fp32", "eager", "images_per_second", [64.0]),
    ] == [
        (
            one["model"]["name"], one["benchmark"]["dtype"], one["model"]["backend"],
            one["metric"]["name"], one["metric"]["benchmark_values"],
        )
        for one in records
    ]  # fmt: skip
    assert [70.0, 90.0, None, None, None, None] == [one["metric"].get("target_value") for one in records]
    for one in records:
        texts = [*one["benchmark"]["extra_info"].values(), *one["dependencies"].values()]
        assert all(isinstance(text, str) for text in texts)
        assert one["dependencies"]["torch"] == "2.9.1"


def test_bencher_metric_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Medians, and quartiles where there are several calls."""
    assert {
        CASE.id: {"top-1": {"value": 70.0}, "top-5": {"value": 90.0}, "images_per_second": {"value": 50.0}},
        TIMING.id: {
            "images_per_second": {"value": 128.0, "lower_value": 96.0, "upper_value": 192.0},
            "peak_memory": {"value": 1.25e9},
        },
        OTHER.id: {"images_per_second": {"value": 64.0}},
    } == json.loads(exported(folder, "bmf", capsys))


def test_csv(folder: Path, tmp_path: Path) -> None:
    """A file, with the published value where the whole dataset was evaluated."""
    assert main(["export", str(folder), "--format=csv", "-o", str(tmp_path / "run.csv")]) == 0

    rows = list(csv.DictReader((tmp_path / "run.csv").read_text().splitlines()))

    assert 6 == len(rows)
    assert {
        "id": CASE.id, "model": "resnet18", "precision": "fp32", "metric": "top-1", "unit": "percent",
        "value": "70.0", "expected": "70.0",
    } == rows[0]  # fmt: skip
    assert ["128.0", ""] == [rows[3]["value"], rows[3]["expected"]]


def test_a_test_without_a_result_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the status is 1: a dashboard must not take what is there for all."""
    record = msgspec.structs.replace(run_record([CASE]), missing_cases=(Missing("vgg16-IMAGENET1K_V1-fp32"),))
    folder = write_run(tmp_path / "run", record).path

    assert main(["export", str(folder), "--format", "csv"]) == 1
    assert capsys.readouterr().err == "vgg16-IMAGENET1K_V1-fp32 has no result: not run\n"


@pytest.mark.parametrize("images", [500, 50_000])
def test_a_published_value_is_no_target_of_a_subset(
    images: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is that of all images."""
    whole = case_result("resnet18", (50_000, 34_879, 44_539)).expected
    case = case_result("resnet18", (images, images // 2, images), expected=whole)
    folder = write_run(tmp_path / "run", run_record([case])).path

    [first, *_] = json.loads(exported(folder, "hud-v3", capsys))

    assert (69.758 if images == 50_000 else None) == first["metric"].get("target_value")

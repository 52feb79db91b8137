"""Tests of ``imagenet-gate export``: what dashboards read of a run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from harness.records.results import Missing
from tests.records import case_result, run_record, timing_result, write_run
from tests.unit.cli.conftest import CommandLine

CASE = case_result("resnet18", (1000, 700, 900), images_per_second=50.0)
TIMING = timing_result("alexnet", [0.25, 0.5, 0.125], precision="bf16", compiled=True)
OTHER = timing_result("vgg16", [0.5], peak_memory=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of one case and two timings, of which one has no peak of memory."""
    return write_run(tmp_path / "run", run_record([CASE], [TIMING, OTHER])).path


def test_the_benchmark_database_of_pytorch(folder: Path, cli: CommandLine) -> None:
    """Each object has what its uploader asks for, a metric with values; maps of details hold text."""
    status, out, _ = cli("export", folder, "--format=hud-v3")

    records = json.loads(out)
    models, metrics, details = ([one[part] for one in records] for part in ("model", "metric", "benchmark"))
    assert [
        ("resnet18", "fp32", "eager", "top-1", [70.0], 70.0),
        ("resnet18", "fp32", "eager", "top-5", [90.0], 90.0),
        ("resnet18", "fp32", "eager", "images_per_second", [50.0], None),
        ("alexnet", "bf16", "inductor", "images_per_second", [128.0, 64.0, 256.0], None),
        ("alexnet", "bf16", "inductor", "peak_memory", [1.25e9], None),
        ("vgg16", "fp32", "eager", "images_per_second", [64.0], None),
    ] == [
        (model["name"], about["dtype"], model["backend"], one["name"], one["benchmark_values"], one.get("target_value"))
        for model, about, one in zip(models, details, metrics, strict=True)
    ]
    maps = [one["dependencies"] for one in records] + [about["extra_info"] for about in details]
    assert {str} == {type(text) for texts in maps for text in texts.values()}
    assert {"2.9.1"} == {one["dependencies"]["torch"] for one in records}
    assert 0 == status


def test_bencher_metric_format(folder: Path, cli: CommandLine) -> None:
    """Medians, and quartiles where there are several calls."""
    assert {
        CASE.id: {"top-1": {"value": 70.0}, "top-5": {"value": 90.0}, "images_per_second": {"value": 50.0}},
        TIMING.id: {
            "images_per_second": {"value": 128.0, "lower_value": 96.0, "upper_value": 192.0},
            "peak_memory": {"value": 1.25e9},
        },
        OTHER.id: {"images_per_second": {"value": 64.0}},
    } == json.loads(cli("export", folder, "--format=bmf").out)


def test_csv(folder: Path, cli: CommandLine) -> None:
    """A file, with the published value where the whole dataset was evaluated."""
    status = cli("export", folder, "--format=csv", "-o", "run.csv").status

    head, *rows = csv.reader(Path("run.csv").read_text().splitlines())
    assert ["id", "model", "precision", "metric", "unit", "value", "expected"] == head
    assert [CASE.id, "resnet18", "fp32", "top-1", "percent", "70.0", "70.0"] == rows[0]
    assert ["128.0", ""] == rows[3][-2:]
    assert (0, 6) == (status, len(rows))


def test_a_test_without_a_result_is_named(tmp_path: Path, cli: CommandLine) -> None:
    """And the status is 1: a dashboard must not take what is there for all."""
    write_run(tmp_path / "run", run_record([CASE, Missing("vgg16-IMAGENET1K_V1-fp32")]))

    status, _, err = cli("export", "run", "--format=csv")

    assert (1, "vgg16-IMAGENET1K_V1-fp32 has no result: not run\n") == (status, err)


def test_a_published_value_is_no_target_of_a_subset(tmp_path: Path, cli: CommandLine) -> None:
    """It is that of all images."""
    whole = case_result("resnet18", (50_000, 34_879, 44_539)).expected
    write_run(tmp_path / "run", run_record([case_result("resnet18", (500, 250, 500), expected=whole)]))

    [first, *_] = json.loads(cli("export", "run", "--format=hud-v3").out)

    assert "target_value" not in first["metric"]

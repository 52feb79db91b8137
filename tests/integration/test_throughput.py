"""``pytest -m throughput``: real inner runs that time a small model, and what they leave."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.evaluation.throughput import TimedForward, WarmUp
from harness.reporting.record import Unmeasured
from harness.reporting.run_folder import read_run
from harness.reporting.timing_record import TimingRecord
from tests.colours import EXPECTED

Throughput = Callable[..., pytest.RunResult]
QUICK = ("--benchmark-max-time=0.02", "--benchmark-min-rounds=5")
CASE = "nearest-V1-fp32"


@pytest.fixture
def throughput(pytester: pytest.Pytester, project: Path, monkeypatch: pytest.MonkeyPatch) -> Throughput:
    """Run ``pytest -m throughput`` with these arguments in the project, with less work to measure the machine."""
    monkeypatch.setattr("harness.evaluation.throughput._PRODUCT_SIDE", {"cpu": 64})
    monkeypatch.setattr("harness.evaluation.yardstick._PRODUCTS", 3)
    monkeypatch.setattr("pytest_benchmark.plugin.get_cpu_info", dict)  # pytest-benchmark's takes a second
    (project / "test_throughput.py").write_text((Path(__file__).parents[1] / "test_throughput.py").read_text())

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-m", "throughput", "--device=cpu", *QUICK, *arguments)

    return run


def _broken(project: Path, function: str) -> None:
    """Add a model of this module to those of the project."""
    (project / "expected_accuracy.yaml").write_text(
        EXPECTED + f"  - {{model: broken, weights: V1, builder: {function}, preset: *preset, colours: *values}}\n"
    )


def test_each_model_is_timed_in_each_setting(throughput: Throughput, project: Path) -> None:
    """Model x batch size x memory format; without images, without weights; one record for the table and the file."""
    result = throughput("--batch-sizes=1,4", "--memory-format=channels_last,contiguous", "--results=run")

    result.assert_outcomes(passed=4)
    timings = read_run(project / "run").record.timings
    suffixes = ["-b1", "-b4", "-contiguous-b1", "-contiguous-b4"]
    assert [timing.id for timing in timings] == [f"{CASE}{suffix}" for suffix in suffixes]
    assert all(isinstance(timing, TimingRecord) and len(timing.seconds) >= 5 for timing in timings)
    result.stdout.re_match_lines(
        [
            r"timed on: cpu \(.*\)$",
            r"=+ throughput: forward alone, images on the device, seeded weights =+$",
            rf"{CASE}-b1 +[\d,]+\.\d +- +\d+\.\d\d +\d+\.\d % +\d+ +0\.00 ",
            r"results: .*/run$",
        ]
    )


def test_without_batch_sizes_there_are_one_and_one_that_fills_the_device(throughput: Throughput) -> None:
    """32 on a CPU; also while only collecting."""
    result = throughput("--collect-only", "-q")

    assert [line for line in result.outlines if "::" in line] == [
        f"test_throughput.py::test_throughput[{CASE}-b1]",
        f"test_throughput.py::test_throughput[{CASE}-b32]",
    ]


@pytest.fixture
def benchmark_file(throughput: Throughput, project: Path) -> Path:
    """The JSON of a run of two batch sizes."""
    result = throughput("--batch-sizes=1,4", "--benchmark-json=run.json")
    result.assert_outcomes(passed=2)
    return project / "run.json"


def test_the_json_tells_what_was_measured_and_on_what(benchmark_file: Path) -> None:
    """Of each timing what follows from its median, the raw calls, and the environment; no objects, no tensors."""
    values = json.loads(benchmark_file.read_text())

    [_, four] = values["benchmarks"]
    info, seconds = four["extra_info"], sorted(four["stats"]["data"])
    middle = len(seconds) // 2
    median = seconds[middle] if len(seconds) % 2 else (seconds[middle - 1] + seconds[middle]) / 2
    assert four["params"] == {
        "model": "nearest-V1",
        "precision": "fp32",
        "memory_format": "channels_last",
        "compiled": False,
        "batch_size": 4,
    }
    assert info["images_per_second"] == pytest.approx(4 / median)
    assert info["tflops"] == pytest.approx(2 * info["gflops"] * 4 / median / 1e3)
    assert info["share_of_peak"] == pytest.approx(info["tflops"] / info["peak_tflops"])
    assert info["warm_up"]["calls"] >= 3
    assert info["environment"]["torch"] == values["imagenet_gate"]["environment"]["torch"]
    assert info["environment"]["device"] == "cpu"
    assert info["peak_memory"] is None or info["peak_memory"] > 10_000_000
    assert "UNSERIALIZABLE" not in benchmark_file.read_text()


def test_the_json_and_the_folder_tell_the_same(throughput: Throughput, project: Path) -> None:
    """One run, two forms, one record."""
    throughput("--batch-sizes=1,4", "--benchmark-json=run.json", "--results=run").assert_outcomes(passed=2)

    folder, file = (read_run(project / name).record for name in ("run", "run.json"))
    assert folder.timings == file.timings
    assert folder.environment == file.environment


def test_github_action_benchmark_finds_its_values(benchmark_file: Path) -> None:
    """By its rule for pytest: name, value, unit, range and extra of each benchmark, from these fields alone."""

    def extract(output: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for bench in output["benchmarks"]:
            stats = bench["stats"]
            found.append(
                {
                    "name": bench["fullname"],
                    "value": stats["ops"],
                    "unit": "iter/sec",
                    "range": f"stddev: {stats['stddev']}",
                    "extra": f"mean: {stats['mean']} sec\nrounds: {stats['rounds']}",
                }
            )
        return found

    values = json.loads(benchmark_file.read_text())
    charts = extract(values)

    assert [chart["name"] for chart in charts] == [
        f"test_throughput.py::test_throughput[{CASE}-b1]",
        f"test_throughput.py::test_throughput[{CASE}-b4]",
    ]
    for chart, bench in zip(charts, values["benchmarks"], strict=True):
        seconds = bench["stats"]["data"]
        assert chart["value"] == pytest.approx(len(seconds) / sum(seconds))
        assert chart["extra"].endswith(f"rounds: {len(seconds)}")


def test_pytest_benchmarks_own_comparison_reads_it(
    benchmark_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two of our files beside each other, by the package's command."""
    second = benchmark_file.with_name("second.json")
    second.write_text(benchmark_file.read_text())

    shown = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(benchmark_file), str(second)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )

    assert shown.stdout.count(f"test_throughput[{CASE}-b4]") == 2


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        ("tests.colours:always_nan", "4 of 4 images got logits that are not finite: no speed to report"),
        ("tests.colours:nan_in_the_end", "logits that are not finite: no speed to report"),
        ("tests.colours:raises_in_the_end", "RuntimeError: out of luck"),
    ],
)
def test_a_model_that_fails_leaves_no_timing(
    builder: str, reason: str, throughput: Throughput, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in pytest-benchmark's JSON nor in its table nor in ours, whenever it fails; the sound one is there."""
    _broken(project, builder)
    if "in_the_end" in builder:
        monkeypatch.setattr(TimedForward, "warm_up", lambda _timed: WarmUp(calls=0, seconds=0.0, stable=True))

    result = throughput("--batch-sizes=4", "--models=all", "--benchmark-json=run.json", "--results=run")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    names = [bench["name"] for bench in json.loads((project / "run.json").read_text())["benchmarks"]]
    assert names == [f"test_throughput[{CASE}-b4]"]
    for path in ("run", "run.json"):
        record = read_run(project / path).record
        [failed] = [timing for timing in record.timings if isinstance(timing, Unmeasured)]
        assert (failed.id, failed.outcome) == ("broken-V1-fp32-b4", "error")
        assert reason in failed.detail
    result.stdout.fnmatch_lines(["  broken-V1-fp32-b4: ERROR, no values (the reason stands above)"])
    assert not [line for line in result.outlines if line.startswith("test_throughput[broken")]


def test_processes_beside_each_other_are_refused(throughput: Throughput) -> None:
    """Timings under xdist would be each other's noise, and pytest-benchmark drops them in silence."""
    result = throughput("-n", "2", "-p", "xdist")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: -m throughput times one model at a time; * leave out -n"])


def test_where_benchmarks_are_disabled_nothing_is_said_to_be_timed(throughput: Throughput, project: Path) -> None:
    """The models run once; the table says that there are no values, and none are written."""
    result = throughput("--batch-sizes=4", "--benchmark-disable", "--results=run")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [f"  {CASE}-b4: not run", f"NO RESULTS: nothing was measured, and {project}/run is as it was"]
    )
    assert not (project / "run").exists()


def test_accuracy_and_speed_in_one_run(throughput: Throughput, project: Path) -> None:
    """One file tells both: hits, environment and timings; it is compared as a run folder is."""
    result = throughput(
        "-m", "imagenet or throughput", "--imagenet=colours", "--workers=1", "--batch-sizes=4",
        "--benchmark-json=run.json", "--results=run",
    )  # fmt: skip

    result.assert_outcomes(passed=2)
    folder, file = (read_run(project / name).record for name in ("run", "run.json"))
    assert [(case.id, case.outcome) for case in file.cases] == [(CASE, "held")]
    assert [timing.id for timing in file.timings] == [f"{CASE}-b4"]
    assert file.split == folder.split is not None

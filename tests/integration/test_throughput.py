"""``pytest -m throughput``: runs that time a small model, their table and their JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.records.run_folder import read_run
from harness.throughput.timing import Bench, TimedForward
from tests.colors import NearestColor
from tests.integration.conftest import entry, expect

pytestmark = pytest.mark.usefixtures("less_to_measure")
Throughput = Callable[..., pytest.RunResult]
QUICK = ("--benchmark-max-time=0.02", "--benchmark-min-rounds=5")
CASE = "nearest-V1-fp32"


@pytest.fixture
def throughput(pytester: pytest.Pytester, project: Path) -> Throughput:
    """Run ``pytest -m throughput`` with these arguments in the project."""
    (project / "test_throughput.py").write_text((Path(__file__).parents[1] / "test_throughput.py").read_text())

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-m", "throughput", "--device=cpu", *QUICK, *arguments)

    return run


def test_each_model_is_timed_in_each_setting(throughput: Throughput, project: Path) -> None:
    """Model x batch size x memory format, without images or weights."""
    result = throughput("--batch-sizes=1,4", "--memory-format=channels_last,contiguous", "--results=run")

    result.assert_outcomes(passed=4)
    timings = read_run(project / "run").record.timings
    suffixes = ["-b1", "-b4", "-contiguous-b1", "-contiguous-b4"]
    assert [f"{CASE}{suffix}" for suffix in suffixes] == [timing.id for timing in timings]
    assert all(len(timing.seconds) >= 5 and not timing.cudnn_benchmark for timing in timings)
    result.stdout.re_match_lines(
        [
            r"timed on: cpu \(.*\)$",
            r"=+ throughput: forward pass only, images on the device, seeded weights =+$",
            r"nearest +1 +[\d,]+\.\d +- +\d+\.\d\d +(-|\d+\.\d\d) +\d+\.\d%$",
            r"nearest contiguous +4 +[\d,]+\.\d +\d+\.\d\d +\d+\.\d\d +(-|\d+\.\d\d) +\d+\.\d%$",
            r"results: .*/run$",
        ]
    )


def test_a_batch_size_can_be_searched(throughput: Throughput, project: Path) -> None:
    """Beside others; the id does not depend on what was found, so that runs can be compared."""
    result = throughput("--batch-sizes=1,auto", "--results=run")

    result.assert_outcomes(passed=2)
    one, auto = read_run(project / "run").record.timings
    assert [f"{CASE}-b1", f"{CASE}-bauto"] == [one.id, auto.id]
    assert () == one.sweep
    assert [2**n for n in range(len(auto.sweep))] == [size for size, _ in auto.sweep]
    assert auto.batch_size in dict(auto.sweep)
    result.stdout.fnmatch_lines([f"{CASE}-bauto: timed at {auto.batch_size}, as larger batches gain little;*"])


def test_what_is_timed_by_default(throughput: Throughput) -> None:
    """Batches of 1 and of 32 on a CPU, also with --collect-only; cuDNN's own choice is in the id."""
    for options, suffix in (((), ""), (("--cudnn-benchmark",), "-cudnn-benchmark")):
        listed = [line for line in throughput("--collect-only", "-q", *options).outlines if "::" in line]

        sizes = (f"test_throughput.py::test_throughput[{CASE}-b{size}{suffix}]" for size in (1, 32))
        assert [*sizes] == listed


class Sleeper(NearestColor):
    """A model that takes 2 ms."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, 1000)."""
        time.sleep(0.002)
        return super().forward(images)


@pytest.mark.slow
def test_the_json_is_pytest_benchmarks_with_the_measurement_and_the_environment(
    throughput: Throughput, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What a call takes, values derived from it, the environment, and what readers of other files look for."""
    expect(project, {"tests.colors:nearest_color": f"{__name__}:Sleeper"})
    options = ("--batch-sizes=1,4", "--benchmark-min-rounds=100", "--benchmark-json=run.json")

    throughput(*options).assert_outcomes(passed=2)

    text = (project / "run.json").read_text()
    values = json.loads(text)
    one, four = values["benchmarks"]
    assert "UNSERIALIZABLE" not in text
    for bench, size in ((one, 1), (four, 4)):
        # Of each benchmark github-action-benchmark reads the name and these statistics.
        stats, calls = bench["stats"], bench["stats"]["data"]
        assert f"test_throughput.py::test_throughput[{CASE}-b{size}]" == bench["fullname"]
        assert (len(calls) / sum(calls), np.mean(calls)) == pytest.approx((stats["ops"], stats["mean"]))
        assert (len(calls), True) == (stats["rounds"], stats["stddev"] >= 0)
    info, median = four["extra_info"], four["extra_info"]["median"]
    assert np.percentile(four["stats"]["data"], (50, 99)).tolist() == pytest.approx([median, info["p99"]])
    assert 0.002 <= median < 0.3
    assert four["params"] == {
        "model": "nearest-V1",
        "precision": "fp32",
        "memory_format": "channels_last",
        "compiled": False,
        "batch_size": 4,
        "cudnn_benchmark": False,
    }
    assert info["images_per_second"] == pytest.approx(4 / median)
    assert info["tflops"] == pytest.approx(2 * info["gmacs"] * 4 / median / 1e3)
    assert info["share_of_peak"] == pytest.approx(info["tflops"] / info["peak_tflops"])
    assert info["warm_up"]["calls"] >= 3
    assert info["environment"]["torch"] == values["imagenet_gate"]["environment"]["torch"]
    assert info["environment"]["device"] == "cpu"
    assert info["peak_memory"] is None  # of a process with two timings

    (project / "second.json").write_text(text)
    files = [str(project / name) for name in ("run.json", "second.json")]
    compare = [sys.executable, "-m", "pytest_benchmark", "compare", *files]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shown = subprocess.run(compare, capture_output=True, text=True, check=True, cwd=elsewhere)

    assert shown.stdout.count(f"test_throughput[{CASE}-b4]") == 2


def not_warmed_up(timed: TimedForward) -> None:
    """Call nothing before the measurement, so that a model fails during it."""
    timed._warm_up = {"calls": 0, "seconds": 0.0, "stable": True}


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        ("always_nan", "4 of 4 images have non-finite logits, so there is no speed to report"),
        ("nan_in_the_end", "have non-finite logits, so there is no speed to report"),
        ("raises_in_the_end", "RuntimeError: out of luck"),
    ],
)
def test_a_model_that_fails_leaves_no_timing(
    builder: str, reason: str, throughput: Throughput, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in pytest-benchmark's JSON and table nor in ours, whenever it fails; the other model's remains."""
    expect(project, {}, entry("broken", f"tests.colors:{builder}"))
    if "in_the_end" in builder:
        monkeypatch.setattr(TimedForward, "warm_up", not_warmed_up)

    result = throughput("--batch-sizes=4", "--models=all", "--benchmark-json=run.json", "--results=run")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    names = [bench["name"] for bench in json.loads((project / "run.json").read_text())["benchmarks"]]
    assert [f"test_throughput[{CASE}-b4]"] == names
    for path in ("run", "run.json"):
        [failed] = read_run(project / path).record.missing_timings
        assert ("broken-V1-fp32-b4", "error") == (failed.id, failed.outcome)
        assert reason in failed.detail
    result.stdout.fnmatch_lines(["  broken-V1-fp32-b4: ERROR, no result (see above)"])
    assert not [line for line in result.outlines if line.startswith("test_throughput[broken")]


def test_cudnn_benchmark_is_recorded(throughput: Throughput, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the CPU were a CUDA device, once the device is open; the switches of the gate are others."""
    opened = Bench.__init__

    def open_without_rejecting(bench: Bench, device: str, precisions: list[str], cudnn_benchmark: bool) -> None:
        opened(bench, device, precisions)
        bench._cudnn_benchmark = cudnn_benchmark

    monkeypatch.setattr(Bench, "__init__", open_without_rejecting)
    switches = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic

    throughput("--batch-sizes=4", "--results=run", "--cudnn-benchmark").assert_outcomes(passed=1)

    [timing] = read_run(project / "run").record.timings
    assert (f"{CASE}-b4-cudnn-benchmark", True) == (timing.id, timing.cudnn_benchmark)
    assert switches == (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic)


def test_disabled_benchmarks_leave_no_timing(throughput: Throughput, project: Path) -> None:
    """The models run once; the table lists the timings as not run, and nothing is written."""
    result = throughput("--batch-sizes=4", "--benchmark-disable", "--results=run")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"  {CASE}-b4: not run", f"NOT WRITTEN: nothing was measured for {project}/run"])
    assert not (project / "run").exists()


def test_a_run_that_has_timed_nothing(
    throughput: Throughput, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Since it was interrupted: it says so, and pytest-benchmark does not warn of it."""
    expect(project, {"tests.colors:nearest_color": "tests.colors:interrupted_in_the_end"})

    with pytest.raises(KeyboardInterrupt):
        throughput("--batch-sizes=4", "--results=run")

    shown = capsys.readouterr().out
    assert f"\nNOT WRITTEN: nothing was measured for {project}/run\n" in shown
    assert "was not used" not in shown


def test_accuracy_and_speed_in_one_run(throughput: Throughput, project: Path) -> None:
    """One file holds both: counts, environment and timings."""
    both = ("-m", "imagenet or throughput", "--imagenet=colors", "--workers=1", "--batch-sizes=4")

    throughput(*both, "--benchmark-json=run.json", "--results=run").assert_outcomes(passed=2)

    folder, file = (read_run(project / name).record for name in ("run", "run.json"))
    assert [(CASE, "passed")] == [(case.id, case.outcome) for case in file.cases]
    assert [f"{CASE}-b4"] == [timing.id for timing in file.timings]
    assert file.dataset == folder.dataset is not None
    assert (file.timings, file.environment) == (folder.timings, folder.environment)

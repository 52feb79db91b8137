"""``pytest -m throughput``: runs that time a small model, their table and their JSON."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.records.run_folder import read_run
from harness.throughput.timing import Bench, TimedForward
from tests.colours import EXPECTED, nearest_colour
from tests.quick import measure_less

Throughput = Callable[..., pytest.RunResult]
QUICK = ("--benchmark-max-time=0.02", "--benchmark-min-rounds=5")
CASE = "nearest-V1-fp32"


@pytest.fixture
def throughput(pytester: pytest.Pytester, project: Path, monkeypatch: pytest.MonkeyPatch) -> Throughput:
    """Run ``pytest -m throughput`` with these arguments in the project, with less work to measure the machine."""
    measure_less(monkeypatch)
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
    """Model x batch size x memory format, without images or weights."""
    result = throughput("--batch-sizes=1,4", "--memory-format=channels_last,contiguous", "--results=run")

    result.assert_outcomes(passed=4)
    timings = read_run(project / "run").record.timings
    suffixes = ["-b1", "-b4", "-contiguous-b1", "-contiguous-b4"]
    assert [timing.id for timing in timings] == [f"{CASE}{suffix}" for suffix in suffixes]
    assert all(len(timing.seconds) >= 5 for timing in timings)
    result.stdout.re_match_lines(
        [
            r"timed on: cpu \(.*\)$",
            r"=+ throughput: forward alone, images on the device, seeded weights =+$",
            r"nearest +1 +[\d,]+\.\d +- +\d+\.\d\d +(-|\d+\.\d\d) +\d+\.\d %$",
            r"nearest contiguous +4 +[\d,]+\.\d +\d+\.\d\d +\d+\.\d\d +(-|\d+\.\d\d) +\d+\.\d %$",
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


class Sleeper(nn.Module):
    """A model that takes 10 ms, and every tenth time 300 ms."""

    def __init__(self) -> None:
        super().__init__()
        self._model, self._calls = nearest_colour(), itertools.count(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, 1000)."""
        time.sleep(0.3 if next(self._calls) % 10 == 0 else 0.01)
        logits: torch.Tensor = self._model(images)
        return logits


@pytest.mark.slow
def test_what_is_recorded_is_what_a_call_takes(throughput: Throughput, project: Path) -> None:
    """The sleep of each call is in the median, and that of every tenth in the 99th percentile alone."""
    _broken(project, f"{__name__}:Sleeper")

    throughput("--batch-sizes=1", "--models=broken", "--benchmark-min-rounds=110", "--benchmark-json=run.json")

    [bench] = json.loads((project / "run.json").read_text())["benchmarks"]
    info, seconds = bench["extra_info"], bench["stats"]["data"]
    assert len(seconds) >= 110
    assert np.percentile(seconds, (50, 99)).tolist() == pytest.approx([info["median"], info["p99"]])
    assert 0.01 <= info["median"] < 0.3 <= info["p99"]
    assert info["images_per_second"] == pytest.approx(1 / info["median"])


def test_the_default_batch_sizes(throughput: Throughput) -> None:
    """1 and 32 on a CPU, also with --collect-only."""
    result = throughput("--collect-only", "-q")

    assert [line for line in result.outlines if "::" in line] == [
        f"test_throughput.py::test_throughput[{CASE}-b1]",
        f"test_throughput.py::test_throughput[{CASE}-b32]",
    ]


def test_the_json_is_pytest_benchmarks_with_the_measurement_and_the_environment(
    throughput: Throughput, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Values derived from each median, all calls, the environment, and what readers of other files look for."""
    throughput("--batch-sizes=1,4", "--benchmark-json=run.json").assert_outcomes(passed=2)

    text = (project / "run.json").read_text()
    values = json.loads(text)
    benches = values["benchmarks"]
    assert "UNSERIALIZABLE" not in text
    # Of each benchmark github-action-benchmark reads the name and these statistics.
    assert [f"test_throughput.py::test_throughput[{CASE}-b{size}]" for size in (1, 4)] == [
        bench["fullname"] for bench in benches
    ]
    for bench in benches:
        stats, calls = bench["stats"], bench["stats"]["data"]
        assert (stats["ops"], stats["mean"]) == pytest.approx((len(calls) / sum(calls), sum(calls) / len(calls)))
        assert (len(calls), True) == (stats["rounds"], stats["stddev"] >= 0)
    [_, four] = benches
    info, seconds = four["extra_info"], sorted(four["stats"]["data"])
    middle = len(seconds) // 2
    median = seconds[middle] if len(seconds) % 2 else (seconds[middle - 1] + seconds[middle]) / 2
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
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", project / "run.json", project / "second.json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )

    assert shown.stdout.count(f"test_throughput[{CASE}-b4]") == 2


def not_warmed_up(timed: TimedForward) -> None:
    """Call nothing before the measurement, so that a model fails during it."""
    timed._warm_up = {"calls": 0, "seconds": 0.0, "stable": True}


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        ("tests.colours:always_nan", "4 of 4 images have non-finite logits, so there is no speed to report"),
        ("tests.colours:nan_in_the_end", "have non-finite logits, so there is no speed to report"),
        ("tests.colours:raises_in_the_end", "RuntimeError: out of luck"),
    ],
)
def test_a_model_that_fails_leaves_no_timing(
    builder: str, reason: str, throughput: Throughput, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in pytest-benchmark's JSON and table nor in ours, whenever it fails; the other model's remains."""
    _broken(project, builder)
    if "in_the_end" in builder:
        monkeypatch.setattr(TimedForward, "warm_up", not_warmed_up)

    result = throughput("--batch-sizes=4", "--models=all", "--benchmark-json=run.json", "--results=run")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    names = [bench["name"] for bench in json.loads((project / "run.json").read_text())["benchmarks"]]
    assert names == [f"test_throughput[{CASE}-b4]"]
    for path in ("run", "run.json"):
        record = read_run(project / path).record
        [failed] = record.missing_timings
        assert (failed.id, failed.outcome) == ("broken-V1-fp32-b4", "error")
        assert reason in failed.detail
    result.stdout.fnmatch_lines(["  broken-V1-fp32-b4: ERROR, no result (see above)"])
    assert not [line for line in result.outlines if line.startswith("test_throughput[broken")]


def test_xdist_is_a_usage_error(throughput: Throughput) -> None:
    """Parallel timings would slow each other down, and pytest-benchmark disables itself under xdist."""
    result = throughput("-n", "2", "-p", "xdist")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: -m throughput times one model at a time; * leave out -n"])


_BUILT: list[weakref.ref[nn.Module]] = []
_ALIVE: list[int] = []


def counted() -> nn.Module:
    """Count the models that are alive before another is built."""
    gc.collect()
    _ALIVE.append(sum(model() is not None for model in _BUILT))
    model = nearest_colour()
    _BUILT.append(weakref.ref(model))
    return model


@pytest.mark.slow
def test_one_model_is_alive(throughput: Throughput, project: Path) -> None:
    """Each is freed before the next is built, and at most the last one is left."""
    like = f"weights: V1, builder: {__name__}:counted, preset: *preset, colours: *values"
    models = "".join(f"  - {{model: m{number}, {like}}}\n" for number in range(3))
    (project / "expected_accuracy.yaml").write_text(EXPECTED + models)

    throughput("--batch-sizes=2,4", "--models=m0,m1,m2").assert_outcomes(passed=6)

    gc.collect()
    assert [0, 0, 0] == _ALIVE
    assert sum(model() is not None for model in _BUILT) <= 1


def test_cudnn_benchmark_is_a_setting_of_its_own(
    throughput: Throughput, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the id and the record; the switches of the gate are others. It needs cuDNN."""
    result = throughput("--batch-sizes=4", "--cudnn-benchmark")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --cudnn-benchmark needs a CUDA device, found cpu: leave it out"])

    # As if the CPU were a CUDA device, once the device is open.
    opened = Bench.__init__

    def without_refusing(bench: Bench, device: str, precisions: list[str], cudnn_benchmark: bool) -> None:
        opened(bench, device, precisions)
        bench._cudnn_benchmark = cudnn_benchmark

    monkeypatch.setattr(Bench, "__init__", without_refusing)
    switches = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    found = {}
    for name, options in (("with", ["--cudnn-benchmark"]), ("without", [])):
        throughput("--batch-sizes=4", f"--results={name}", *options).assert_outcomes(passed=1)
        [timing] = read_run(project / name).record.timings
        found[timing.id] = timing.cudnn_benchmark

    assert {f"{CASE}-b4-cudnn-benchmark": True, f"{CASE}-b4": False} == found
    assert switches == (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic)


def test_disabled_benchmarks_leave_no_timing(throughput: Throughput, project: Path) -> None:
    """The models run once; the table lists the timings as not run, and nothing is written."""
    result = throughput("--batch-sizes=4", "--benchmark-disable", "--results=run")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"  {CASE}-b4: not run", f"NOT WRITTEN: nothing was measured for {project}/run"])
    assert not (project / "run").exists()


class Cancelled(nn.Module):
    """A model that Ctrl-C interrupts."""

    def forward(self, _images: torch.Tensor) -> torch.Tensor:
        """Return nothing."""
        raise KeyboardInterrupt


def test_a_run_that_is_interrupted_before_it_has_timed_anything(
    throughput: Throughput, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and pytest-benchmark does not warn that it timed nothing."""
    _broken(project, f"{__name__}:Cancelled")

    with pytest.raises(KeyboardInterrupt):
        throughput("--batch-sizes=4", "--models=broken", "--results=run")

    shown = capsys.readouterr().out
    assert f"\nNOT WRITTEN: nothing was measured for {project}/run\n" in shown
    assert "warning" not in shown.lower()


def test_accuracy_and_speed_in_one_run(throughput: Throughput, project: Path) -> None:
    """One file holds both: counts, environment and timings."""
    result = throughput(
        "-m", "imagenet or throughput", "--imagenet=colours", "--workers=1", "--batch-sizes=4",
        "--benchmark-json=run.json", "--results=run",
    )  # fmt: skip

    result.assert_outcomes(passed=2)
    folder, file = (read_run(project / name).record for name in ("run", "run.json"))
    assert [(case.id, case.outcome) for case in file.cases] == [(CASE, "passed")]
    assert [timing.id for timing in file.timings] == [f"{CASE}-b4"]
    assert file.dataset == folder.dataset is not None
    assert (file.timings, file.environment) == (folder.timings, folder.environment)

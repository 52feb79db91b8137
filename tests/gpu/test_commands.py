"""The commands that a user gives, on a device: the gate in each precision, throughput, workers and ranks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.predictions import Predictions
from harness.records.evidence import Pairing
from harness.records.results import CaseResult
from harness.records.run_folder import read_run
from harness.verdict import PASSED
from tests.gpu.conftest import Record, equal

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
GATE = ("-m", "imagenet", "--imagenet=synthetic")


def _pytest(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def _cases(folder: Path) -> dict[str, tuple[CaseResult, Predictions]]:
    run = read_run(folder)
    return {case.id: (case, run.predictions(case)) for case in run.record.cases}


def test_the_gate_in_each_precision_twice(device: torch.device, record_property: Record, tmp_path: Path) -> None:
    """It passes against the baseline of a CPU, and the second run repeats the first bit for bit."""
    on_gpu = device.type == "cuda"
    options = ["--models=alexnet", "--limit=64"]
    if on_gpu:
        options = ["--precision=fp32,tf32,bf16,fp16", "--memory-format=channels_last,contiguous"]
    first, second = (_pytest(*GATE, *options, f"--results={tmp_path / name}") for name in ("first", "second"))

    assert first.returncode == second.returncode == 0, first.stdout + second.stdout
    before, after = _cases(tmp_path / "first"), _cases(tmp_path / "second")
    assert len(before) == (32 if on_gpu else 1)
    for name, (case, predictions) in before.items():
        assert case.verdict.outcome == PASSED
        paired = case.baseline
        assert isinstance(paired, Pairing)
        assert paired.drift is not None
        moved = f"{paired.changed} changed, drift {paired.drift.median:.1e} / {paired.drift.largest:.1e}"
        record_property(name, f"{case.counts.top1}/{case.counts.top5} of {case.counts.images}, {moved}")
        assert equal(predictions, after[name][1])


@pytest.mark.usefixtures("gpu")
def test_throughput(record_property: Record, tmp_path: Path) -> None:
    """Four models in four precisions, with the share of what large products reach."""
    timed = ("-m", "throughput", "--precision=fp32,tf32,bf16,fp16", "--benchmark-max-time=0.3")
    found = _pytest(*timed, f"--results={tmp_path / 'run'}")

    assert found.returncode == 0, found.stdout
    for timing in read_run(tmp_path / "run").record.timings:
        share = f"{timing.share_of_peak:.0%} of {timing.peak_tflops:,.0f} TFLOP/s"
        record_property(timing.id, f"{timing.images_per_second:,.0f} images/s, {share}")


@pytest.mark.parametrize("launcher", ["xdist", "torchrun"])
def test_one_process_for_each_gpu(launcher: str, device: torch.device, tmp_path: Path) -> None:
    """Workers and ranks come to what one process comes to; one more than there are GPUs is rejected."""
    number = max(1, torch.cuda.device_count())
    options = (*GATE, "--models=alexnet", "--limit=99")
    alone = _pytest(*options, f"--results={tmp_path / 'alone'}")

    def started(processes: int, results: str) -> subprocess.CompletedProcess[str]:
        if launcher == "xdist":
            return _pytest(*options, f"--results={tmp_path / results}", "-n", str(processes))
        ranks = ("-m", "torch.distributed.run", "--nproc-per-node", str(processes))
        return _pytest(*options, f"--results={tmp_path / results}", launcher=ranks)

    shared = started(number, "shared")
    assert alone.returncode == shared.returncode == 0, alone.stdout + shared.stdout + shared.stderr
    [(one, _)], [(other, _)] = _cases(tmp_path / "alone").values(), _cases(tmp_path / "shared").values()
    assert one.counts == other.counts
    if device.type == "cuda":
        rejected = started(number + 1, "rejected")
        assert rejected.returncode != 0
        assert (
            f"{number + 1} processes on one machine need a GPU each, and CUDA finds {number} there" in rejected.stderr
        )

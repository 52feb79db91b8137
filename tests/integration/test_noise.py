"""``imagenet-gate noise`` measures the noise floor of a machine, and ``--noise-floor`` judges by it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from harness.baseline.noise import NoiseFloors, noise_floor_above, read_noise_floors
from harness.cli.main import main
from harness.records.evidence import Drift, NoiseFloor, Pairing
from harness.records.run_folder import read_run
from harness.report.report import Judging
from tests.integration.conftest import Gate
from tests.records import pairing

DEFAULT = NoiseFloor(median=4e-5, largest=1e-4, changed=2e-4, images=2_200)
HIGH = NoiseFloor(median=0.5, largest=2.0, changed=0.5, images=16)


@pytest.mark.parametrize(
    ("pairings", "expected"),
    [
        ([("a", 0, 1e-5, 5e-5), ("a", 1, 3e-5, 4e-5)], NoiseFloor(1.2e-4, 2e-4, 0.04, 100)),
        ([("a", 0, 0.0, 0.0), ("b", 0, 0.0, 0.0)], NoiseFloor(1e-6, 1e-6, 2e-4, 200)),
        ([("a", 40, 1.0, 1.0)], NoiseFloor(4.0, 4.0, 1.0, 100)),
    ],
)
def test_the_noise_floor_is_above_all_that_was_measured(
    pairings: list[tuple[str, int, float, float]], expected: NoiseFloor
) -> None:
    """Four times, but never below what float32 can tell, and few images prove no smaller share of changes.

    It is based on the images of each case once, however often that was computed.
    """
    found = noise_floor_above(
        [
            pairing(against=against, images=100, changed=changed, drift=Drift(median, 0, largest), noise_floor=DEFAULT)
            for against, changed, median, largest in pairings
        ]
    )

    assert msgspec.structs.astuple(expected) == pytest.approx(msgspec.structs.astuple(found))


def test_the_noise_is_measured_and_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In each of the variants; the file says of what, and by which torch."""
    expected = str(project / "expected_accuracy.yaml")

    status = main(["noise", "colors", "--device=cpu", f"--expected={expected}", "--models=all", "-o", "noise.json"])

    lines = capsys.readouterr().out.splitlines()
    variants = [line[12:28].strip() for line in lines if line.startswith("nearest-V1")]
    written = read_noise_floors(project / "noise.json")
    assert 0 == status
    assert ["the same again", "batches of 1", "batches of 7", "contiguous", "one thread"] == variants
    assert (16, ("nearest-V1",), str(torch.__version__)) == (written.images, written.models, written.torch)
    assert 1e-6 <= written.floors["fp32"].largest < 1e-4


def test_what_cannot_be_written_is_not_measured(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which takes minutes; what is there stays as it is."""
    before = sorted(project.rglob("*"))

    for output, reason in (("no/noise.json", "No such file"), ("colors", "something other than a file is there")):
        assert 2 == main(["noise", "colors", "--device=cpu", "-o", output])
        shown, errors = capsys.readouterr()
        assert ("", True) == (shown, reason in errors)
    assert before == sorted(project.rglob("*"))


def test_the_gate_and_compare_judge_by_a_measured_noise_floor(gate: Gate, project: Path) -> None:
    """In place of the default one of that precision."""
    (project / "high.json").write_bytes(msgspec.json.encode(NoiseFloors("cpu", "2", 16, (), {"fp32": HIGH})))
    images = ("--imagenet=colors", "--device=cpu", "--baseline=base")
    gate(*images, "--baseline-update")

    gate(*images, "--noise-floor=high.json", "--results=run")
    gate(*images, "--results=other")

    base, run, other = (read_run(project / name) for name in ("base", "run", "other"))
    comparison, _ = Judging(noise_floor=project / "high.json").compare(base, run)
    evidence = [run.record.cases[0].baseline, other.record.cases[0].baseline, comparison.accuracy[0].evidence]
    assert [HIGH, DEFAULT, HIGH] == [paired.noise_floor for paired in evidence if isinstance(paired, Pairing)]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text("[]"), "Expected `object`, got `array`"),
        (os.mkfifo, "a regular file, found a pipe"),  # reading it would wait for ever
    ],
)
def test_a_file_without_noise_floors_is_a_usage_error(gate: Gate, project: Path, make: Any, reason: str) -> None:
    """Of the gate and of the command line."""
    make(project / "floor.json")

    result = gate("--imagenet=colors", "--baseline=base", "--noise-floor=floor.json")

    assert pytest.ExitCode.USAGE_ERROR == result.ret
    [line] = [line for line in result.errlines if "floor.json: expected " in line]
    assert reason in line
    assert 2 == main(["compare", "base", "run", "--noise-floor=floor.json"])

"""``--reference``: each model is evaluated again on another device, and its logits are compared."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.records.run_folder import read_run
from harness.verdict import FAILED, PASSED
from tests.colors import NearestColor
from tests.integration.conftest import Gate, expect

IMAGES = ("--imagenet=colors", "--device=cpu", "--results=run")


def test_a_sound_model_agrees_with_float64(gate: Gate, project: Path) -> None:
    """In every setting; the evidence is recorded, and shown although it passed."""
    result = gate(*IMAGES, "--reference=cpu:fp64", "--precision=fp32,bf16")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "reference: float64 on cpu, 64 images of each case",
            "nearest-V1-fp32: *e-0[678], allowed 0.0001; largest drift from float64 on cpu, median *; 0 of 16 *",
        ]
    )
    fp32, bf16 = (case.bounds[0].value for case in read_run(project / "run").record.cases)
    assert 0 < fp32 < 1e-5 < bf16 < 0.1


class RoundsOnce(NearestColor):
    """Rounds its input as TF32 does, in float32 and with channels last or not as the gate calls it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, 1000)."""
        if images.dtype == torch.float32:
            images = ((images.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
        return super().forward(images)


def test_a_kernel_that_rounds_is_found_without_a_baseline(gate: Gate, project: Path) -> None:
    """No prediction changes, and the published values hold."""
    expect(project, {"tests.colors:nearest_color": f"{__name__}:RoundsOnce"})

    result = gate(*IMAGES, "--memory-format=contiguous", "--reference=cpu:fp64", "--reference-images=8")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*: reference: *, expected 0 to 0.0001: *; 0 of 8 predictions changed"])
    [case] = read_run(project / "run").record.cases
    outcomes = {"top-1": PASSED, "top-5": PASSED, "reference": FAILED}
    assert outcomes == {check.name: check.outcome for check in case.verdict.checks}


def test_float32_on_the_same_device_agrees_bit_for_bit(gate: Gate, project: Path) -> None:
    """But for the memory format and the batches, it is the same computation."""
    gate(*IMAGES, "--reference=cpu", "--batch-size=16")

    [case] = read_run(project / "run").record.cases
    assert 0 == case.bounds[0].value

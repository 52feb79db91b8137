"""``--precision``: cases, tolerances, the table of settings, and the recorded switches."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.conftest import Gate


def test_each_precision_is_a_case_with_its_own_tolerance(gate: Gate, project: Path) -> None:
    """A difference within bf16's tolerance and beyond fp32's fails fp32 alone.

    The record holds the observed switches; the table compares a model's settings with its first.
    """
    changed = (project / "expected_accuracy.yaml").read_text()
    for old, new in (("tolerance: 0.05", "tolerance: {fp32: 0.05, bf16: 6.25}"), ("acc@1: 75.0", "acc@1: 68.75")):
        changed = changed.replace(old, new)
    (project / "expected_accuracy.yaml").write_text(changed)

    result = gate("--imagenet=colours", "--precision=fp32,bf16", "--results=run")

    result.assert_outcomes(passed=1, failed=1)
    fp32, bf16 = json.loads((project / "run" / "record.json").read_text())["cases"]
    assert [("nearest-V1-fp32", "failed"), ("nearest-V1-bf16", "passed")] == [
        (case["id"], case["outcome"]) for case in (fp32, bf16)
    ]
    assert [0.05, 6.25] == [float(case["expected"]["tolerance"]) for case in (fp32, bf16)]
    names = ("autocast", "product", "convolution")
    seen = [[case["switches"][name] for name in names] for case in (fp32, bf16)]
    assert ["off", "float32, 23 bits", "float32, 23 bits"] == seen[0]
    assert ["bfloat16", "bfloat16, 7 bits", "bfloat16, 7 bits"] == seen[1]
    result.stdout.re_match_lines(
        [
            r"^model +setting +top-1 +top-5 +diff +diff +changed +images/s +speed-up$",
            r"^nearest +fp32 +75.000 +87.500 +- +- +- +[\d,]+ +-$",
            r"^nearest +bf16 +75.000 +87.500 +\+0.000 +\+0.000 +0 +[\d,]+ +\d+\.\d\d$",
        ],
        consecutive=True,
    )

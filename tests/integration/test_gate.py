"""The gate as a user sees it: outcomes, messages, table, exit status."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.records.results import Missing
from harness.records.run_folder import read_run
from tests.integration.conftest import Gate, entry, expect


def test_a_correct_model_passes(gate: Gate) -> None:
    """Exit status 0, a header that says what is evaluated, and a table with every value."""
    result = gate("--imagenet=colors", "--device=cpu", "--batch-size=5")

    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(
        [
            r"dataset: colors \(colors\), 16 images, 8 classes$",
            r"device: cpu \(.*\), fp32, batches of 5$",
            r"decoder: pillow, --workers 2, decoded images kept in$",
            r"  .*/store$",
            r"versions: torch .*, torchvision .*, numpy .*",
            r"  .*libjpeg-turbo .*$",
            r"=+ accuracy in percent: colors, 16 images =+$",
            r"  model +top-1 +diff +top-5 +diff +img/s +outcome$",
            r"  nearest +75.000 +\+0.000 +87.500 +\+0.000 +[\d,]+  passed$",
            r"diff: points above or below the published accuracy$",
            r"decode \d+.\d s, load \d+.\d s, transfer \d+.\d s, forward \d+.\d s, total \d+.\d s$",
        ]
    )


@pytest.mark.parametrize(
    ("published", "failed", "passed"),
    [
        (
            "acc@1: 81.25, acc@5: 87.5",
            ["top-1: measured 75.000, published 81.250 (-6.250 points, allowed ±0.05)", "-1 of 16 images, allowed ±0"],
            "top-5: passed: measured 87.500, published 87.500 (+0.000 points, allowed ±0.05)",
        ),
        (
            "acc@1: 75.0, acc@5: 81.25",
            ["top-5: measured 87.500, published 81.250 (+6.250 points, allowed ±0.05)", "+1 of 16 images, allowed ±0"],
            "top-1: passed: measured 75.000, published 75.000 (+0.000 points, allowed ±0.05)",
        ),
    ],
    ids=["top-1 below", "top-5 above"],
)
def test_a_deviation_fails_in_a_few_lines(
    gate: Gate, project: Path, published: str, failed: list[str], passed: str
) -> None:
    """One image fewer or more fails; the message is these lines, without a traceback."""
    expect(project, {"acc@1: 75.0, acc@5: 87.5": published})

    result = gate("--imagenet=colors")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)
    lines = [f"nearest: {failed[0]}", f"    {failed[1]}", passed, "    +0 of 16 images, allowed ±0"]
    start = result.outlines.index(lines[0])
    above, *shown, below = result.outlines[start - 1 : start + 5]
    assert (lines, "___", "===") == (shown, above[:3], below[:3])
    result.stdout.re_match_lines([r" +nearest .* FAILED$"])


def test_logits_that_are_not_finite_are_an_error(gate: Gate, project: Path) -> None:
    """They are not counted as wrong: the test errors, names the image, and neither table nor record has values."""
    expect(project, {"nearest_color": "always_nan"})

    result = gate("--imagenet=colors", "--results=run")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    why = "the logits of 16 of 16 images are not finite, the first of them 00.JPEG"
    nothing = "*accuracy in percent: nothing was evaluated*"
    result.stdout.fnmatch_lines([why, nothing, "  nearest-V1-fp32: ERROR, no result (see above)"])
    record = read_run(project / "run").record
    assert ((), (Missing("nearest-V1-fp32", "error", why),)) == (record.cases, record.missing_cases)


def test_models_are_ranked(gate: Gate, project: Path) -> None:
    """Each of three entries has a result of its own; those that cannot be told apart share their ranks."""
    expect(project, {}, entry("again"), entry("nan", "tests.colors:always_nan"))

    result = gate("--imagenet=colors", "--models=all")

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.re_match_lines(
        [
            r"1-2 +again  .* 75.000 .* passed$",
            r"1-2 +nearest .* 75.000 .* passed$",
            r"  nan-V1-fp32: ERROR",
            r"rank: ranks by top-1 consistent with these images",
        ]
    )


def test_a_limit_is_judged_by_the_sampling_band(gate: Gate) -> None:
    """A subset passes within the band; the run shows how many images of how many, and what that could miss.

    On 8 images half of the accuracy could be lost: the message says how many it takes, and a baseline judges.
    """
    result = gate("--imagenet=colors", "--limit=12")
    too_few = gate("--imagenet=colors", "--limit=8")
    recorded = gate("--imagenet=colors", "--limit=8", "--baseline=base", "--baseline-update")
    paired = gate("--imagenet=colors", "--limit=8", "--baseline=base")

    assert [0, 1, 0, 0] == [run.ret for run in (result, too_few, recorded, paired)]
    result.stdout.re_match_lines(
        [
            r"dataset: colors \(colors\), 12 of 16 images, 8 classes$",
            r".*colors, 12 images =+$",
            r"judged on a subset of the images, which could miss a drop in top-1 of up to$",
            r"  [\d.]+ points and in top-5 of up to [\d.]+ points$",
        ]
    )
    too_few.stdout.re_match_lines(
        [r"nearest: top-1: too few images: raise --limit to 11, or give --baseline DIR$", r"    measured .*"]
    )
    subset = "judged on a subset of the images, which could miss a drop in top-5 of up to"
    paired.stdout.fnmatch_lines(
        [subset, "  43.75 points", "not judged, too few images: 1 check; --limit 11 judges all"]
    )


def test_each_precision_is_a_case_with_its_own_tolerance(gate: Gate, project: Path) -> None:
    """A difference within bf16's tolerance and beyond fp32's fails fp32 alone.

    The record holds the observed switches; the table compares a model's settings with its first.
    """
    expect(project, {"tolerance: 0.05": "tolerance: {fp32: 0.05, bf16: 6.25}", "acc@1: 75.0": "acc@1: 68.75"})

    result = gate("--imagenet=colors", "--precision=fp32,bf16", "--results=run")

    result.assert_outcomes(passed=1, failed=1)
    fp32, bf16 = read_run(project / "run").record.cases
    assert [("nearest-V1-fp32", "failed"), ("nearest-V1-bf16", "passed")] == [
        (case.id, case.outcome) for case in (fp32, bf16)
    ]
    assert [0.05, 6.25] == [float(case.expected.tolerance) for case in (fp32, bf16) if case.expected]
    names = ("autocast", "product", "convolution")
    assert ["off", "float32, 23 bits", "float32, 23 bits"] == [fp32.switches[name] for name in names]
    assert ["bfloat16", "bfloat16, 7 bits", "bfloat16, 7 bits"] == [bf16.switches[name] for name in names]
    result.stdout.re_match_lines(
        [
            r"^model +setting +top-1 +top-5 +diff +diff +changed +images/s +speed-up$",
            r"^nearest +fp32 +75.000 +87.500 +- +- +- +[\d,]+ +-$",
            r"^nearest +bf16 +75.000 +87.500 +\+0.000 +\+0.000 +0 +[\d,]+ +\d+\.\d\d$",
        ],
        consecutive=True,
    )


@pytest.mark.usefixtures("every_line")
def test_each_geometry_is_decoded_once(gate: Gate, project: Path) -> None:
    """Models of one geometry follow each other, whatever their order in the file; only -q hides progress and table."""
    other = "{resize: 9, crop: 8, interpolation: bilinear, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"
    expect(project, {}, entry("other").replace("*preset", other), entry("again"))

    loud = gate("--imagenet=colors", "--models=all", "--batch-size=8")
    terse = gate("--imagenet=colors", "--no-store", "-q")

    loud.assert_outcomes(passed=3)
    decoded = [line for line in loud.outlines if ": decoding: 0 of 16 images" in line]
    assert ["nearest-V1-fp32", "other-V1-fp32"] == [line.partition(":")[0] for line in decoded]
    loud.stdout.re_match_lines(
        [
            r"again-V1-fp32: forward: 0 of 16 images",
            r"again-V1-fp32: forward: 8 of 16 images, [\d,.]+ images/s, 00:00 left$",
        ]
    )
    assert not [line for line in terse.outlines if re.search("forward|decoding|accuracy in percent", line)]
    assert terse.ret == 0

"""Tests of harness.report.report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.compare.compare import FAILURES
from harness.errors import RecordError
from harness.records.evidence import Bounds, Diagnosis
from harness.records.results import Missing, Record
from harness.records.run_folder import Run
from harness.records.speed import Limits
from harness.report.report import Judging, headline, report_on
from tests.records import DATASET, case_result, expected, pairing, run_record, timing_result

PIXELS = "the model was shown other pixels (9 of 10 images)"
WARNS = pairing(images=10, diagnosis=Diagnosis("decoded inputs", PIXELS, cause="pillow 12 -> 13"))
WRONG = expected(1000, 703, 900)
ALEXNET, WARNED = case_result("alexnet"), case_result("alexnet", baseline=WARNS)
VGG = case_result("vgg16", expected=WRONG, baseline=msgspec.structs.replace(WARNS, changed=9))
OWN = case_result("own", bounds=(Bounds("calibration", 0.2, high=0.1),))
UNPUBLISHED = case_result("own", expected=None, unpublished="none for own on val. Known on: a")

ONE, TWO = run_record([ALEXNET]), run_record([ALEXNET, case_result()], [timing_result()])
SUBSET = msgspec.structs.replace(ONE, dataset=msgspec.structs.replace(DATASET, total=50_000))
NO_VALUES = run_record([ALEXNET, Missing("a-fp32", "error", "no weights"), Missing("b-fp32")])
GONE, SLOWER = ("c-fp32", "is not in the new run"), ("alexnet-b32", "takes 9 % longer")
LOST = {"failures": [("a-fp32", "error in the new run: no weights"), GONE], "against": "old"}
SLOW = {"failures": [SLOWER], "against": "old", "caveats": ["speed was not compared"]}
BLIND = {"against": "old", "caveats": ["ignored: missing", "speed was not compared"]}
ON = "on imagenet-1k, 1,000 images, torch 2.9.1"


@pytest.mark.parametrize(
    ("record", "given", "sentence"),
    [
        (TWO, {}, f"PASSED: 2 cases and 1 timing {ON}"),
        (ONE, {"against": "runs/old"}, f"PASSED: 1 case {ON}; compared with runs/old"),
        (SUBSET, {}, "PASSED: 1 case on imagenet-1k, 1,000 of 50,000 images, torch 2.9.1"),
        # The pairing's word comes before accuracy's, which is only the effect; without its example.
        (
            run_record([ALEXNET, VGG, case_result(expected=WRONG)]),
            {},
            f"FAILED: 2 of 3 results: vgg16-IMAGENET1K_V1-fp32: {PIXELS} (and 1 more)",
        ),
        # Each counts among the results, once: an error, a case that was not run, and one that vanished.
        (NO_VALUES, LOST, "FAILED: 3 of 4 results: a-fp32: no weights (and 2 more)"),
        (run_record([WARNED, case_result()]), {}, f"PASSED: 2 cases {ON}; 1 warning"),
        # Warnings would otherwise be seen only once the failure is mended.
        (
            run_record([WARNED, OWN]),
            {},
            "FAILED: 1 of 2 results: own-IMAGENET1K_V1-fp32: calibration: 0.2, expected -inf to 0.1; 1 warning",
        ),
        # Though each case passed by itself; a green line must not stand for what nobody compared.
        (TWO, SLOW, "FAILED: 1 of 4 results: alexnet-b32: takes 9 % longer; speed was not compared"),
        (ONE, BLIND, f"PASSED: 1 case {ON}; compared with old; ignored: missing; speed was not compared"),
        (run_record(), {}, "FAILED: nothing was measured"),
        # What to do about it stands among the reasons.
        (
            run_record([UNPUBLISHED]),
            {},
            "FAILED: 1 of 1 result: own-IMAGENET1K_V1-fp32: published values: none for own on val",
        ),
    ],
)
def test_the_verdict_is_one_line(record: Record, given: dict[str, Any], sentence: str) -> None:
    """What was measured, or the first failure and how many more; what was compared, what was not, and warnings."""
    found = headline(record, **given)

    assert sentence == found.sentence
    outcome = "warning" if sentence.startswith("PASSED") and "warning" in sentence else sentence[:6].lower()
    assert outcome == found.outcome


def test_the_reasons_are_those_of_failures_or_else_of_warnings() -> None:
    """Of each case the baseline first; what has no values has its own word."""
    both, warned = headline(run_record([WARNED, VGG])), headline(run_record([WARNED]))
    lost = headline(NO_VALUES, [("a-fp32", "error in the new run: no weights"), GONE], "old")

    assert [f"{PIXELS}\n    likely cause", "top-1"] == [why.partition(":")[0] for _, why in both.reasons]
    assert "\n    effect: 9 of 10 predictions changed, 9 beyond noise" in both.reasons[0][1]
    [(identity, why)] = warned.reasons
    assert ALEXNET.id == identity
    assert why.startswith(f"{PIXELS}\n    likely cause: pillow 12 -> 13")
    assert (("a-fp32", "error: no weights"), ("b-fp32", "not run"), GONE) == lost.reasons
    assert () == headline(ONE).reasons


def _run(path: str, record: Record) -> Run:
    return Run(Path(path), record)


def test_runs_of_different_images_are_refused() -> None:
    """Also where they are not neighbours."""
    record = run_record([case_result()])
    other = msgspec.structs.replace(record, dataset=msgspec.structs.replace(DATASET, digest="0ther"))

    with pytest.raises(RecordError, match=r"^a and b evaluated different images and cannot be compared"):
        report_on([_run("a", other), _run("b", record), _run("c", record)])


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({}, []),
        ({"fail_on": FAILURES[::-1]}, []),
        ({"strict_drift": True}, ["--strict-drift"]),
        ({"fail_on": ()}, ["--fail-on=none"]),
        (
            {"fail_on": ("speed",), "limits": Limits(0.125, 0.1, 0.5), "noise": 0.15},
            ["--fail-on=speed", "--max-slowdown=12.5%", "--max-compile-time=50%", "--noise=15%"],
        ),
    ],
)
def test_what_it_was_judged_by_is_kept(given: dict[str, Any], arguments: list[str]) -> None:
    """As options of compare, so that it comes to the same verdict."""
    assert arguments == Judging(**given).arguments()

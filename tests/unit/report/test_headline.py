"""Tests of harness.report.report."""

from __future__ import annotations

import msgspec

from harness.records.evidence import Bounds, Diagnosis
from harness.records.results import Missing
from harness.report.report import headline
from tests.records import DATASET, case_result, expected, pairing, run_record, timing_result

ALEXNET, VGG = case_result("alexnet"), case_result("vgg16")
SAME = pairing(
    images=10,
    diagnosis=Diagnosis("decoded inputs", "the model was shown other pixels (9 of 10 images)", cause="pillow 12 -> 13"),
)
PIXELS = msgspec.structs.replace(SAME, changed=9)
WRONG = expected(1000, 703, 900)


def test_a_run_that_passed() -> None:
    """The line says how much was measured, on what, by which torch; and what it was compared with."""
    record = run_record([ALEXNET, VGG], [timing_result()])

    assert headline(record).sentence == "PASSED: 2 cases and 1 timing on imagenet-1k, 1,000 images, torch 2.9.1"
    assert headline(record, (), "runs/old").sentence.endswith("torch 2.9.1; compared with runs/old")
    assert (headline(record).outcome, headline(record).reasons) == ("passed", ())


def test_a_subset_is_never_told_as_the_whole() -> None:
    """The images that were left out are counted."""
    record = msgspec.structs.replace(
        run_record([ALEXNET]), dataset=msgspec.structs.replace(DATASET, images=1000, total=50_000)
    )

    assert headline(record).sentence == "PASSED: 1 case on imagenet-1k, 1,000 of 50,000 images, torch 2.9.1"


def test_a_failure_names_the_first_cause() -> None:
    """The pairing's word comes before accuracy's, which is only the effect; in the line without its example."""
    vgg = msgspec.structs.replace(VGG, expected=WRONG, baseline=PIXELS)

    found = headline(run_record([ALEXNET, vgg, case_result("resnet18", expected=WRONG)]))

    assert found.outcome == "failed"
    assert found.sentence == (
        "FAILED: 2 of 3 results: vgg16-IMAGENET1K_V1-fp32: the model was shown other pixels (9 of 10 images) (and 1 "
        "more)"
    )
    assert [why.partition(":")[0] for _, why in found.reasons] == [
        "the model was shown other pixels (9 of 10 images)\n    likely cause",
        "top-1",
        "top-1",
    ]
    assert "\n    effect: 9 of 10 predictions changed, 9 beyond noise" in found.reasons[0][1]


def test_what_has_no_values_is_a_failure() -> None:
    """An error, a case that was not run, and one that vanished: each counts among the results, once."""
    record = run_record([ALEXNET, Missing("a-fp32", "error", "no weights"), Missing("b-fp32")])
    failures = [("a-fp32", "error in the new run: no weights"), ("c-fp32", "is not in the new run")]

    found = headline(record, failures, "runs/old")

    assert found.sentence == "FAILED: 3 of 4 results: a-fp32: no weights (and 2 more)"
    assert found.reasons == (("a-fp32", "error: no weights"), ("b-fp32", "not run"), failures[1])


def test_an_own_check_is_named() -> None:
    """A value outside its bounds, from a team's hook."""
    case = msgspec.structs.replace(ALEXNET, bounds=(Bounds("calibration", 0.2, high=0.1),))

    assert headline(run_record([case])).sentence.endswith(": calibration: 0.2, expected -inf to 0.1")


def test_a_warning_is_told_and_holds() -> None:
    """With its reason."""
    found = headline(run_record([msgspec.structs.replace(ALEXNET, baseline=SAME), VGG]))

    assert found.outcome == "warning"
    assert found.sentence == "PASSED: 2 cases on imagenet-1k, 1,000 images, torch 2.9.1; 1 warning"
    [(identity, why)] = found.reasons
    assert identity == ALEXNET.id
    assert why.startswith("the model was shown other pixels (9 of 10 images)\n    likely cause: pillow 12 -> 13")


def test_warnings_are_counted_beside_failures() -> None:
    """They would otherwise be seen only once the failure is mended."""
    warned = msgspec.structs.replace(ALEXNET, baseline=SAME)

    found = headline(run_record([warned, case_result("resnet18", expected=WRONG)]))

    assert found.sentence.startswith("FAILED: 1 of 2 results: resnet18")
    assert found.sentence.endswith("; 1 warning")


def test_a_comparison_that_fails_is_a_failure() -> None:
    """Though each case passed by itself."""
    found = headline(run_record([ALEXNET], [timing_result("alexnet")]), [("alexnet-b32", "takes 9 % longer")], "old")

    assert found.sentence == "FAILED: 1 of 3 results: alexnet-b32: takes 9 % longer"


def test_nothing_measured_is_no_success() -> None:
    """A record without a case or timing says so."""
    assert headline(run_record()).sentence == "FAILED: nothing was measured"


def test_what_was_not_looked_at_is_told() -> None:
    """Whether it passed or failed: a green line must not stand for what nobody compared."""
    record = run_record([ALEXNET])

    passed = headline(record, (), "old", ["not counting missing", "speed was not compared"])
    failed = headline(record, [("a", "is gone")], "old", ["speed was not compared"])

    assert passed.sentence.endswith("compared with old; not counting missing; speed was not compared")
    assert failed.sentence == "FAILED: 1 of 2 results: a: is gone; speed was not compared"


def test_the_line_ends_with_the_first_sentence() -> None:
    """What to do about it stands among the reasons."""
    own = msgspec.structs.replace(ALEXNET, expected=None, unpublished="none for own on val; known on: a")

    assert headline(run_record([own])).sentence.endswith(": published values: none for own on val; known on: a")

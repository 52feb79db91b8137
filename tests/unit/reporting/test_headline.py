"""Tests of harness.reporting.headline."""

from __future__ import annotations

from dataclasses import replace

from harness.gate.verdict import Check, Verdict
from harness.reporting.headline import headline
from harness.reporting.record import Unmeasured
from tests.records import FAILED, SPLIT, case_record, run_record, timing_record

ALEXNET, VGG = case_record("alexnet"), case_record("vgg16")
PIXELS = (
    "decoded inputs: 9 of 10 images have other pixels, such as a.JPEG: 40 %; pillow 12 -> 13\n    9 answers changed"
)
CAUSE = Verdict((Check("top-1", "failed", "-3 images"), Check("baseline", "failed", PIXELS)))


def test_all_held() -> None:
    """The line says how much was measured, on what, by which torch; and what it was compared with."""
    record = run_record([ALEXNET, VGG], [timing_record()])

    assert headline(record).sentence == "HELD: 2 cases and 1 timing on imagenet-1k, 1,000 images, torch 2.9.1"
    assert headline(record, (), "runs/old").sentence.endswith("torch 2.9.1; no failure compared with runs/old")
    assert (headline(record).outcome, headline(record).reasons) == ("held", ())


def test_a_subset_is_never_told_as_the_whole() -> None:
    """The images that were left out are counted."""
    record = replace(run_record([ALEXNET]), split=replace(SPLIT, images=1000, total=50_000))

    assert headline(record).sentence == "HELD: 1 case on imagenet-1k, 1,000 of 50,000 images, torch 2.9.1"


def test_a_failure_names_the_first_cause() -> None:
    """The pairing's word comes before accuracy's, which is only the effect; in the line without its example."""
    found = headline(run_record([ALEXNET, replace(VGG, verdict=CAUSE), case_record("resnet18", verdict=FAILED)]))

    assert found.outcome == "failed"
    assert found.sentence == (
        "FAILED: 2 of 3 results: vgg16-IMAGENET1K_V1-fp32: baseline: decoded inputs: 9 of 10 images have other pixels "
        "(and 1 more)"
    )
    assert [why for _, why in found.reasons] == [f"baseline: {PIXELS}", "top-1: -3 images", "top-1: -3 images"]


def test_what_has_no_values_is_a_failure() -> None:
    """An error, a case that was not run, and one that vanished: each counts among the results, once."""
    record = run_record([ALEXNET, Unmeasured("a-fp32", "error", "no weights"), Unmeasured("b-fp32")])
    failures = [("a-fp32", "error in the new run: no weights"), ("c-fp32", "is not in the new run")]

    found = headline(record, failures, "runs/old")

    assert found.sentence == "FAILED: 3 of 4 results: a-fp32: no weights (and 2 more)"
    assert found.reasons == (("a-fp32", "error: no weights"), ("b-fp32", "not run"), failures[1])


def test_a_case_without_a_check_does_not_hold() -> None:
    """As predictions that others published."""
    assert headline(run_record([replace(ALEXNET, verdict=Verdict(()))])).sentence == (
        "FAILED: 1 of 1 result: alexnet-IMAGENET1K_V1-fp32: was checked against nothing"
    )


def test_a_warning_is_told_and_holds() -> None:
    """With its reason."""
    warned = replace(ALEXNET, verdict=Verdict((Check("top-1", "held", ""), Check("baseline", "warned", "drift"))))

    found = headline(run_record([warned, VGG]))

    assert found.outcome == "warned"
    assert found.sentence == "HELD: 2 cases on imagenet-1k, 1,000 images, torch 2.9.1; 1 warning"
    assert found.reasons == ((ALEXNET.id, "baseline: drift"),)


def test_a_comparison_that_fails_is_a_failure() -> None:
    """Though each case held by itself."""
    found = headline(run_record([ALEXNET], [timing_record("alexnet")]), [("alexnet-b32", "takes 9 % longer")], "old")

    assert found.sentence == "FAILED: 1 of 3 results: alexnet-b32: takes 9 % longer"


def test_nothing_measured_is_no_success() -> None:
    """A record without a case or timing says so."""
    assert headline(run_record()).sentence == "FAILED: nothing was measured"


def test_what_was_not_looked_at_is_told() -> None:
    """Whether it held or failed: a green line must not stand for what nobody compared."""
    record = run_record([ALEXNET])

    held = headline(record, (), "old", ["not counting missing", "speed was not compared"])
    failed = headline(record, [("a", "is gone")], "old", ["speed was not compared"])

    assert held.sentence.endswith("compared with old; not counting missing; speed was not compared")
    assert failed.sentence == "FAILED: 1 of 2 results: a: is gone; speed was not compared"


def test_the_line_ends_with_the_first_sentence() -> None:
    """What to do about it stands among the reasons."""
    verdict = Verdict((Check("published values", "failed", "none for own on val; known on: a. Point --imagenet at"),))

    sentence = headline(run_record([replace(ALEXNET, verdict=verdict)])).sentence

    assert sentence.endswith(": published values: none for own on val; known on: a")
